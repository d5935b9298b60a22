/* The rendezvous word and the other numbers of the model; see rendezvous.h of the core. */

/* ---- the rendezvous word: | peer | sequence: 2 | state: 4 | ---- */

#define IDLE 0
#define OPEN_ANY 1
#define OPEN_FROM 2
#define REPLY 3
#define REQUEST 4
#define FILLING 5
#define FULL 6
#define FULL_CALL 7
#define FULL_NOTIFY 8
#define SENDING 9
#define CALLING 10
#define TAKING 11
#define TAKEN 12
#define ERROR 14
#define KICK 15

#define WORD(state, sequence, peer) ((state) + (((sequence) & 3) << 4) + ((peer) << 6))
#define STATE(w) ((w) & 15)
#define SEQUENCE(w) (((w) >> 4) & 3)
#define PEER(w) ((w) >> 6)

#define ACCEPTS(w, sender, call)                                                \
  (STATE(w) == OPEN_ANY || (STATE(w) == REQUEST && (call)) ||                   \
   ((STATE(w) == OPEN_FROM || STATE(w) == REPLY) && PEER(w) == (sender)))
#ifdef FAULT_NOTICE_IN_REPLY
#define ACCEPTS_NOTICE(w, sender)                                               \
  (STATE(w) == OPEN_ANY ||                                                      \
   ((STATE(w) == OPEN_FROM || STATE(w) == REPLY) && PEER(w) == (sender)))
#else
#define ACCEPTS_NOTICE(w, sender)                                               \
  (STATE(w) == OPEN_ANY || (STATE(w) == OPEN_FROM && PEER(w) == (sender)))
#endif
#define WAITING(w)                                                              \
  ((STATE(w) >= OPEN_ANY && STATE(w) <= FILLING) ||                             \
   (STATE(w) >= SENDING && STATE(w) <= TAKING))
#define QUEUED(w, receiver)                                                     \
  ((STATE(w) == SENDING || STATE(w) == CALLING) && PEER(w) == (receiver))

/* ---- endpoints, lives, results, calls ---- */

#define ENDPOINT(slot, generation) ((slot) + ((generation) << 2))
#define SLOT(endpoint) ((endpoint) & 3)
#define ANY 200
#define NOBODY 255

#define FREE 0
#define BINDING 1
#define LOCAL 2
#define DYING 4

#define OK 0
#define TIMED_OUT 1
#define SOURCE_DIED 2
#define DESTINATION_DIED 3
#define NOT_BOUND 4
#define WOKEN_UP 5
#define DC_ENDED 6
#define NOT_WAITING 7

#define STOP 0
#define SEND 1
#define CALL 2
#define RECEIVE 3
#define RECEIVE_REQUEST 4
#define ANSWER 5
#define NOTIFY 6
#define WAKE_UP 7
#define UNBIND 8
#define END_DC 9

#define AWAKE 0
#define ON_FUTEX 1
#define ON_FIFO 2

/* A message is a number: who sent it, and which of its messages it is. Its answer has ANSWERED more. */
#define ID(process, turn) (1 + (process) * PER_PROCESS + (turn))
#define ANSWERED 15
#define NOTICE 253
#define TORN 254 /* half written */
#define BIT(i) (1 << (i))
