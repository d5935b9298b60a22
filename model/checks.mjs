// What is checked, in the order of the run: an instance of the model holds; a formula holds in it;
// or with a fault seeded, spin must find out (`finds`).

const INSTANCES = [
  ...['unbind', 'senders', 'calls', 'rebind', 'mixed-loops', 'wakeups', 'end', 'timed-calls'],
  ...['send', 'mixed', 'death-of-receiver', 'death-of-sender', 'death-of-repair'],
  ...['notices', 'notice-in-call', 'late-answers', 'stopped-senders', 'passed-senders'],
  ...['lending-traced', 'lending-two-calls', 'lending-untraced-read', 'lending-untraced-write'],
  ...['lending-stage', 'lending-deaths', 'lending-lost'],
  ...['deadlock-ring', 'deadlock-two', 'deadlock-deaths'],
  ...['migration', 'migration-deaths', 'mark'],
];

const FORMULAS = [
  ['notice-in-call', 'ends'],
  ['notice-in-call', 'answered'],
  ['notices', 'ends'],
  ['send', 'answered'],
];

const FAULTS = [
  ['send', 'SLEEPING_FIRST'],
  ['send', 'SLEEP_UNSEEN'],
  ['send', 'NO_SECOND_LOOK'],
  ['send', 'NO_KICK'],
  ['send', 'QUEUE_FIRST'],
  ['send', 'NO_REQUEUE'],
  ['stopped-senders', 'SAME_BUFFER'],
  ['passed-senders', 'SAME_BUFFER'],
  ['send', 'COPY_BEFORE_CLAIM'],
  ['late-answers', 'NO_CALL_NUMBER'],
  ['mixed', 'KICK_IN_REPLY'],
  ['mixed-loops', 'ARM_UNSEEN'],
  ['notices', 'NO_NOTICE_KICK'],
  ['notice-in-call', 'NOTICE_IN_REPLY'],
  ['death-of-receiver', 'NO_LOOK_AFTER_QUEUE'],
  ['death-of-receiver', 'ENDPOINT_LAST'],
  ['death-of-sender', 'NO_REPAIR_WAKE'],
  ['rebind', 'NO_LOOK_IN_CLAIM'],
  ['lending-traced', 'NO_LEAVE'],
  ['lending-traced', 'CLAIM_UNCHECKED'],
  ['lending-two-calls', 'LEFT_FREE'],
  ['lending-stage', 'LEFT_FREE'],
  ['lending-traced', 'GO_ON'],
  ['lending-untraced-write', 'SAME_IDENTITY'],
  ['lending-untraced-write', 'ERROR_UNTIED'],
  ['lending-deaths', 'BUSY_FREED'],
  ['deadlock-ring', 'TICKET_FIRST'],
  ['deadlock-two', 'OLD_TICKET'],
  ['deadlock-two', 'ONE_WALK'],
  ['deadlock-ring', 'ANYONE'],
  ['deadlock-deaths', 'DEAD_TOO'],
  ['migration', 'KEEP'],
  ['migration', 'TAKE_BACK'],
  ['migration', 'ASK_ONCE'],
  ['migration', 'ANSWER_ALL'],
  ['mark', 'MARK_LAST'],
  ['mark', 'SETTLE_UNLOCKED'],
];

export const CHECKS = [
  ...INSTANCES.map((instance) => ({ instance })),
  ...FORMULAS.map(([instance, formula]) => ({ instance, formula })),
  ...FAULTS.map(([instance, fault]) => ({ instance, fault, finds: true })),
];
