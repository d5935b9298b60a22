/*
 * Every call of dvk.h, with right and wrong arguments, by two processes of one program.
 *
 *   c-calls SEGMENT FILE    node 1 is a member of the DC, and linked; FILE is no segment
 *
 * Prints each check that fails, then `N checks, N failed`.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dvk.h"

static int checks, failures;

static void check(int line, const char* what, int64_t result, int64_t expected) {
  checks++;
  if (result == expected) return;
  failures++;
  printf("%d: %s is %lld, not %lld\n", line, what, (long long)result, (long long)expected);
}

#define CHECK(call, expected) check(__LINE__, #call, (int64_t)(call), (int64_t)(expected))

static dvk_segment* segment;
static dvk_process *server, *user;

static void refuses_null(void) {
  dvk_message message = {0};
  dvk_party party = dvk_own(&message);
  dvk_departure departure;
  void* address = NULL;
  CHECK(dvk_open(NULL, &segment), -EINVAL);
  CHECK(dvk_open("x", NULL), -EINVAL);
  CHECK(dvk_close(NULL), -EINVAL);
  CHECK(dvk_node_id(NULL), -EINVAL);
  CHECK(dvk_dc_id(NULL), -EINVAL);
  CHECK(dvk_slots(NULL), -EINVAL);
  CHECK(dvk_lookup(NULL, 0), -EINVAL);
  CHECK(dvk_check_endpoint(NULL, 0), -EINVAL);
  CHECK(dvk_wakeup(NULL, 0), -EINVAL);
  CHECK(dvk_arena_at(NULL, 0, 0) == NULL, 1);
  CHECK(dvk_bind(NULL, -1, DVK_LEVEL_USER, "x", &user), -EINVAL);
  CHECK(dvk_bind_as(segment, NULL, &user), -EINVAL);
  CHECK(dvk_bind_for(segment, 1, NULL), -EINVAL);
  CHECK(dvk_unbind_for(NULL, 1, 0), -EINVAL);
  CHECK(dvk_set_warned(NULL, 1, 0), -EINVAL);
  CHECK(dvk_find_departure(NULL, 0, &departure), -EINVAL);
  CHECK(dvk_find_departure(segment, 0, NULL), -EINVAL);
  CHECK(dvk_adopt(NULL, 0, &user), -EINVAL);
  CHECK(dvk_bind_remote(NULL, 1, 1, DVK_LEVEL_USER, "x"), -EINVAL);
  CHECK(dvk_unbind_remote(NULL, 1), -EINVAL);
  CHECK(dvk_promote(NULL, 1), -EINVAL);
  CHECK(dvk_end(NULL), -EINVAL);
  CHECK(dvk_wait_unbound(NULL, 0), -EINVAL);
  CHECK(dvk_unbind(NULL), -EINVAL);
  CHECK(dvk_endpoint(NULL), -EINVAL);
  CHECK(dvk_last_kind(NULL), -EINVAL);
  CHECK(dvk_send(NULL, 1, &message, 0), -EINVAL);
  CHECK(dvk_receive(NULL, DVK_ANY, &message, 0), -EINVAL);
  CHECK(dvk_sendrec(NULL, 1, &message, 0), -EINVAL);
  CHECK(dvk_rcvrqst(NULL, &message, 0), -EINVAL);
  CHECK(dvk_last_call(NULL), 0);
  CHECK(dvk_reply(NULL, 1, &message), -EINVAL);
  CHECK(dvk_reply_to(NULL, 1, 1, &message), -EINVAL);
  CHECK(dvk_reply_receive(NULL, 1, &message, 0), -EINVAL);
  CHECK(dvk_relay(NULL, 1, 2, &message), -EINVAL);
  CHECK(dvk_relay_to(NULL, 1, 1, 2, &message), -EINVAL);
  CHECK(dvk_notify(NULL, 1), -EINVAL);
  CHECK(dvk_senda(NULL, 1, &message, 0), -EINVAL);
  CHECK(dvk_senda_status(NULL, 0), -EINVAL);
  CHECK(dvk_senda_cancel(NULL, 0), -EINVAL);
  CHECK(dvk_set_filter(NULL, 1, NULL, 0), -EINVAL);
  CHECK(dvk_clear_filter(NULL), -EINVAL);
  CHECK(dvk_notify_from(NULL, 1, DVK_SELF, 0), -EINVAL);
  CHECK(dvk_notify_kernel(NULL, 1, 0), -EINVAL);
  CHECK(dvk_notify_value(NULL), 0);
  CHECK(dvk_wait_bind(NULL, 1, 0), -EINVAL);
  CHECK(dvk_wait_unbind(NULL, 1, 0), -EINVAL);
  CHECK(dvk_dc_info_get(NULL, NULL), -EINVAL);
  CHECK(dvk_node_info_get(NULL, 0, NULL), -EINVAL);
  CHECK(dvk_process_info_get(NULL, 0, NULL), -EINVAL);
  CHECK(dvk_find_pid(NULL, 1, 0), -EINVAL);
  CHECK(dvk_get_privileges(NULL, 1, NULL), -EINVAL);
  CHECK(dvk_set_privileges(NULL, 1, NULL), -EINVAL);
  CHECK(dvk_administer_privileges(NULL, 1, NULL), -EINVAL);
  CHECK(dvk_arena_allocate(NULL, 1, &address), -EINVAL);
  CHECK(dvk_arena_free(NULL, 0), -EINVAL);
  CHECK(dvk_grant(NULL, &message, 1, DVK_RIGHT_READ, DVK_ANY), -EINVAL);
  CHECK(dvk_revoke(NULL, 0), -EINVAL);
  CHECK(dvk_vcopy(NULL, &party, &party, 1, 0), -EINVAL);
}

static void binds(void) {
  dvk_process* other = NULL;
  CHECK(dvk_bind(segment, -1, DVK_LEVEL_USER, NULL, &other), -EINVAL);
  CHECK(dvk_bind(segment, -1, DVK_LEVEL_USER, "0123456789abcdef", &other), -EINVAL);
  CHECK(dvk_bind(segment, -1, DVK_LEVEL_KERNEL + 1, "x", &other), -EINVAL);
  CHECK(dvk_bind(segment, -1, -1, "x", &other), -EINVAL);
  CHECK(dvk_bind(segment, -1, DVK_LEVEL_USER, "x", NULL), -EINVAL);
  CHECK(dvk_bind(segment, -2, DVK_LEVEL_USER, "x", &other), -DVK_EDVSBADPROC);
  CHECK(dvk_bind(segment, DVK_SYSTEM_PROCESSES, DVK_LEVEL_USER, "x", &other), -DVK_EDVSBADPROC);
  CHECK(other == NULL, 1);
  CHECK(dvk_bind(segment, 5, DVK_LEVEL_SERVER, "0123456789abcde", &server), 0);
  CHECK(dvk_bind(segment, 5, DVK_LEVEL_SERVER, "x", &other), -DVK_EDVSSLOTUSED);
  CHECK(dvk_bind(segment, -1, DVK_LEVEL_USER, "user", &user), 0);
  CHECK(dvk_close(segment), -EBUSY);
  CHECK(dvk_lookup(segment, 5), dvk_endpoint(server));
  CHECK(dvk_lookup(segment, 6), -DVK_EDVSNOTBOUND);
  CHECK(dvk_lookup(segment, -1), -DVK_EDVSBADPROC);
  CHECK(dvk_lookup(segment, dvk_slots(segment)), -DVK_EDVSBADPROC);
  CHECK(dvk_check_endpoint(segment, dvk_endpoint(user)), 0);
  CHECK(dvk_check_endpoint(segment, 6), -DVK_EDEADSRCDST);
  CHECK(dvk_check_endpoint(segment, DVK_ANY), -ERANGE);
}

static void* ask(void* unused) {
  dvk_message message = {.type = 41};
  (void)unused;
  CHECK(dvk_sendrec(user, dvk_endpoint(server), &message, 5000), 0);
  CHECK(message.type, 42);
  CHECK(message.source, dvk_endpoint(server));
  return NULL;
}

static void* ask_back(void* back) {
  dvk_message message = {.type = 41};
  CHECK(dvk_sendrec(user, dvk_endpoint(server), &message, 5000), 0);
  CHECK(message.source, dvk_endpoint(back));
  return NULL;
}

static void calls(void) {
  const int32_t to_user = dvk_endpoint(user), to_server = dvk_endpoint(server);
  dvk_message message = {.type = 1};
  CHECK(dvk_send(user, to_server, NULL, 0), -EINVAL);
  CHECK(dvk_send(user, to_server, &message, 0), -EAGAIN);
  CHECK(dvk_send(user, to_server, &message, 1), -ETIMEDOUT);
  CHECK(dvk_send(user, to_user, &message, 0), -DVK_EDVSBADDEST);
  CHECK(dvk_receive(user, to_user, &message, 0), -DVK_EDVSENDPOINT);
  CHECK(dvk_rcvrqst(user, &message, 0), -DVK_ETRAPDENIED);
  CHECK(dvk_reply(user, to_server, &message), -DVK_ETRAPDENIED);
  CHECK(dvk_reply(server, to_user, &message), -DVK_EDVSPROCSTS);
  CHECK(dvk_reply_to(user, to_server, 1, &message), -DVK_ETRAPDENIED);
  CHECK(dvk_reply_to(server, to_user, 1, &message), -DVK_EDVSPROCSTS);
  CHECK(message.type, 1);

  CHECK(dvk_notify(user, to_server), 0);
  CHECK(dvk_receive(server, to_user, &message, 0), 0);
  CHECK(message.type, DVK_NOTIFY_TYPE);
  CHECK(dvk_last_kind(server), DVK_KIND_NOTIFY);
  CHECK(dvk_wakeup(segment, to_server), 0);
  CHECK(dvk_receive(server, DVK_ANY, &message, -1), -DVK_EDVSWOKENUP);

  const int32_t id = dvk_senda(user, to_server, &(dvk_message){.type = 7}, 0);
  CHECK(dvk_senda_status(user, id), DVK_PENDING);
  const dvk_filter_rule rule = {.match = DVK_MATCH_TYPE, .type = 7};
  CHECK(dvk_set_filter(server, 0, &rule, 1), 0);
  CHECK(dvk_receive(server, DVK_ANY, &message, 0), -EAGAIN);
  CHECK(dvk_set_filter(server, 1, &rule, 1), 0);
  CHECK(dvk_receive(server, DVK_ANY, &message, 0), 0);
  CHECK(message.type, 7);
  CHECK(dvk_last_kind(server), DVK_KIND_ASYNC);
  CHECK(dvk_clear_filter(server), 0);
  CHECK(dvk_set_filter(server, 1, &rule, DVK_FILTER_RULES + 1), -EINVAL);
  CHECK(dvk_set_filter(server, 1, NULL, 1), -EINVAL);
  CHECK(dvk_senda_cancel(user, id), -EALREADY);
  CHECK(dvk_senda_status(user, id), 0);
  CHECK(dvk_senda_status(user, id), -EINVAL);
  CHECK(dvk_senda(user, to_server, &message, 64), -EINVAL);
  CHECK(dvk_senda(user, to_server, NULL, 0), -EINVAL);

  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, ask, NULL), 0);
  CHECK(dvk_rcvrqst(server, &message, 5000), 0);
  CHECK(dvk_last_kind(server), DVK_KIND_CALL);
  message.type++;
  CHECK(dvk_reply_receive(server, message.source, &message, 0), -EAGAIN);
  pthread_join(thread, NULL);
}

static void notifies(void) {
  const int32_t to_user = dvk_endpoint(user), to_server = dvk_endpoint(server);
  dvk_message message;
  CHECK(dvk_notify_from(user, to_server, DVK_SELF, 1), -DVK_EDVSENDPOINT);
  CHECK(dvk_notify_from(user, to_server, DVK_KERNEL, 1), -DVK_ETRAPDENIED);
  CHECK(dvk_notify_from(server, to_user, DVK_SELF, 1), 0);
  CHECK(dvk_notify_from(server, to_user, DVK_SELF, 4), 0);
  CHECK(dvk_notify_kernel(segment, to_user, 2), 0);
  CHECK(dvk_receive(user, DVK_ANY, &message, 0), 0);
  CHECK(message.source, DVK_KERNEL);
  CHECK(dvk_notify_value(&message), 2);
  CHECK(dvk_receive(user, to_server, &message, 0), 0);
  CHECK(dvk_notify_value(&message), 5);
}

static void relays(void) {
  dvk_message message = {.type = 40};
  dvk_process* back = NULL;
  CHECK(dvk_bind(segment, 6, DVK_LEVEL_SERVER, "back", &back), 0);
  pthread_t thread;
  CHECK(dvk_relay(server, dvk_endpoint(user), dvk_endpoint(back), &message), -DVK_EDVSPROCSTS);
  for (int named = 0; named < 2; named++) {
    CHECK(pthread_create(&thread, NULL, ask_back, back), 0);
    CHECK(dvk_rcvrqst(server, &message, 5000), 0);
    const uint32_t call = dvk_last_call(server);
    const int32_t next = dvk_endpoint(back);
    CHECK(named ? dvk_relay_to(server, message.source, call, next, &message)
                : dvk_relay(server, message.source, next, &message),
          0);
    CHECK(dvk_rcvrqst(back, &message, 5000), 0);
    CHECK(message.source, dvk_endpoint(user));
    CHECK(dvk_reply(back, message.source, &message), 0);
    pthread_join(thread, NULL);
  }
  CHECK(dvk_wait_bind(user, 6, 0), dvk_endpoint(back));
  CHECK(dvk_wait_bind(user, 7, 1), -ETIMEDOUT);
  CHECK(dvk_wait_bind(user, -1, 0), -DVK_EDVSBADPROC);
  CHECK(dvk_wait_unbind(user, dvk_endpoint(back), 0), -EAGAIN);
  const int32_t gone = dvk_endpoint(back);
  CHECK(dvk_unbind(back), 0);
  CHECK(dvk_wait_unbind(user, gone, -1), 0);
}

static void tells(void) {
  dvk_dc_info dc;
  CHECK(dvk_dc_info_get(segment, &dc), 0);
  CHECK(dc.running, 1);
  CHECK(dc.slots, dvk_slots(segment));
  CHECK(dc.node_id, dvk_node_id(segment));
  dvk_node_info node;
  CHECK(dvk_node_info_get(segment, dc.node_id, &node), 0);
  CHECK(node.state, DVK_LINK_LOCAL);
  CHECK(dvk_node_info_get(segment, dc.nodes, &node), -DVK_EDVSBADNODEID);
  CHECK(dvk_node_info_get(segment, dc.nodes - 1, &node), -DVK_EDVSNODCNODE);
  dvk_process_info info;
  CHECK(dvk_process_info_get(segment, 5, &info), 0);
  CHECK(info.endpoint, dvk_endpoint(server));
  CHECK(info.pid, getpid());
  CHECK(info.life, DVK_LIFE_LOCAL);
  CHECK(info.level, DVK_LEVEL_SERVER);
  CHECK(strcmp(dvk_state_name(info.state), "running"), 0);
  CHECK(strcmp(dvk_state_name(-1), "unknown"), 0);
  CHECK(strcmp(info.name, "0123456789abcde"), 0);
  CHECK(dvk_process_info_get(segment, 6, &info), -DVK_EDVSNOTBOUND);
  CHECK(dvk_process_info_get(segment, -1, &info), -DVK_EDVSBADPROC);
  CHECK(dvk_find_pid(segment, getpid(), 0), dvk_endpoint(server));
  CHECK(dvk_find_pid(segment, getpid(), 6), dvk_endpoint(user));
  CHECK(dvk_find_pid(segment, 1, 0), -DVK_EDVSNOTBOUND);
}

static int32_t flags_in(int slot) {
  dvk_process_info info = {0};
  CHECK(dvk_process_info_get(segment, slot, &info), 0);
  return (int32_t)info.flags;
}

static void* bind_thread(void* process) {
  const dvk_bind_options options = {DVK_BIND_THREAD, 20, 0, 0, DVK_LEVEL_USER, 0, "thread"};
  dvk_process_info info;
  CHECK(dvk_bind_as(segment, &options, process), 0);
  CHECK(dvk_process_info_get(segment, 20, &info), 0);
  CHECK(info.thread != 0 && info.thread != getpid() && info.pid == getpid(), 1);
  return NULL;
}

static void binds_otherwise(void) {
  dvk_process *of_thread = NULL, *own = NULL;
  dvk_message message = {.type = 1};
  pthread_t thread;
  pthread_create(&thread, NULL, bind_thread, &of_thread);
  pthread_join(thread, NULL);
  CHECK(dvk_receive(user, dvk_endpoint(of_thread), &message, 10000), -DVK_ESRCDIED);
  CHECK(dvk_unbind(of_thread), -DVK_EDVSNOTBOUND);

  dvk_bind_options options = {DVK_BIND_PROCESS, 21, 0, 0, DVK_LEVEL_SERVER, 0, "own"};
  CHECK(dvk_bind_for(segment, 0, &options), -EINVAL);
  CHECK(dvk_adopt(segment, 0, &own), -EAGAIN);
  const int32_t endpoint = dvk_bind_for(segment, getpid(), &options);
  CHECK(endpoint, dvk_lookup(segment, 21));
  CHECK(flags_in(21), DVK_BOUND_HANDED);
  CHECK(dvk_adopt(segment, 0, &own), 0);
  CHECK(flags_in(21), 0);
  CHECK(dvk_unbind(own), 0);

  options.kind = DVK_BIND_REPLICA;
  options.endpoint = 22;
  CHECK(dvk_bind_as(segment, &options, &own), 0);
  CHECK(dvk_endpoint(own), 22);
  CHECK(flags_in(22), DVK_BOUND_REPLICA);
  CHECK(dvk_unbind(own), 0);
  options.kind = DVK_BIND_BACKUP + 1;
  CHECK(dvk_bind_as(segment, &options, &own), -EINVAL);
}

static void unbinds_others(void) {
  dvk_departure departure = {0};
  dvk_process* brief = NULL;
  dvk_message message = {0};
  CHECK(dvk_bind(segment, 24, DVK_LEVEL_SERVER, "brief", &brief), 0);
  const int32_t endpoint = dvk_endpoint(brief);
  CHECK(dvk_unbind_for(segment, endpoint, 0), -DVK_EDVSENDPOINT);
  CHECK(dvk_unbind_for(segment, DVK_ANY, 0), -ERANGE);
  CHECK(dvk_set_warned(segment, dvk_endpoint(server), 5), 0);
  CHECK(dvk_unbind(brief), 0);
  CHECK(dvk_receive(server, DVK_KERNEL, &message, 0), 0);
  CHECK(dvk_notify_value(&message), 5);
  uint64_t number = 0;
  while (dvk_find_departure(segment, number, &departure) == 1) number = departure.number + 1;
  CHECK(departure.endpoint, endpoint);
  CHECK(departure.pid, getpid());
  CHECK(departure.status, DVK_UNBOUND);
  CHECK(strcmp(departure.name, "brief"), 0);
  CHECK(dvk_set_warned(segment, endpoint, 0), -DVK_EDEADSRCDST);
  CHECK(dvk_set_warned(segment, DVK_NONE, 0), 0);

  const pid_t child = fork();
  if (child == 0) {
    for (;;) pause();
  }
  dvk_bind_options options = {DVK_BIND_PROCESS, 24, 0, 0, DVK_LEVEL_SERVER, 0, "child"};
  CHECK(dvk_unbind_for(segment, dvk_bind_for(segment, child, &options), 0), 0);
  CHECK(dvk_lookup(segment, 24), -DVK_EDVSNOTBOUND);
  CHECK(kill(child, SIGKILL), 0);
  CHECK(waitpid(child, NULL, 0), child);
}

static void stands_by(void) {
  dvk_process* backup = NULL;
  dvk_message message = {.type = 1};
  dvk_bind_options options = {DVK_BIND_BACKUP, 0, 23, -1, DVK_LEVEL_SERVER, 0, "backup"};
  CHECK(dvk_bind_as(segment, &options, &backup), -DVK_EDVSBADNODEID);
  options.node = 0;
  CHECK(dvk_bind_as(segment, &options, &backup), -DVK_EDVSLCLPROC);
  options.node = 2;
  CHECK(dvk_bind_as(segment, &options, &backup), -DVK_EDVSNODCNODE);
  options.node = 1;
  CHECK(dvk_bind_remote(segment, 23, 1, DVK_LEVEL_SERVER, "primary"), 0);
  CHECK(dvk_promote(segment, 23), -DVK_EDVSPROCSTS);
  CHECK(dvk_bind_as(segment, &options, &backup), 0);
  CHECK(flags_in(23), DVK_BOUND_BACKUP);
  CHECK(dvk_receive(backup, DVK_ANY, &message, 0), -EAGAIN);
  CHECK(dvk_notify(backup, dvk_endpoint(user)), -DVK_EDVSSTANDBY);
  CHECK(dvk_promote(segment, 23), 0);
  CHECK(dvk_notify(backup, dvk_endpoint(server)), 0);
  CHECK(dvk_receive(server, 23, &message, 0), 0);
  CHECK(dvk_unbind(backup), 0);
  CHECK(dvk_bind_remote(segment, 23, -1, DVK_LEVEL_USER, "x"), -DVK_EDVSBADNODEID);
  CHECK(dvk_bind_remote(segment, 24, 1, DVK_LEVEL_USER, "x"), 0);
  CHECK(dvk_unbind_remote(segment, 24), 0);
  CHECK(dvk_unbind_remote(segment, 24), -DVK_EDVSNOTBOUND);
}

static void ends(void) {
  CHECK(dvk_wait_unbound(segment, 0), -EAGAIN);
  CHECK(dvk_unbind(user), 0);
  CHECK(dvk_end(segment), 0);
  CHECK(dvk_notify(server, 5), -DVK_EDVSDCNOTRUN);
  CHECK(dvk_wait_unbound(segment, 1), -ETIMEDOUT);
  CHECK(dvk_unbind(server), 0);
  CHECK(dvk_wait_unbound(segment, -1), 0);
}

static void privileges(void) {
  const int32_t to_user = dvk_endpoint(user), to_server = dvk_endpoint(server);
  dvk_message message = {.type = 1};
  dvk_privileges before, after;
  CHECK(dvk_get_privileges(segment, to_user, &before), 0);
  after = before;
  after.ipc_to = 0;
  CHECK(dvk_set_privileges(user, to_user, &after), -DVK_ETRAPDENIED);
  CHECK(dvk_set_privileges(server, to_user, &after), 0);
  CHECK(dvk_send(user, to_server, &message, 0), -DVK_ECALLDENIED);
  after.rights = DVK_CALL_NOTIFY_KERNEL;
  CHECK(dvk_set_privileges(server, to_user, &after), -EPERM);
  after.reserved = 1;
  CHECK(dvk_administer_privileges(segment, to_user, &after), -EINVAL);
  CHECK(dvk_administer_privileges(segment, to_user, &before), 0);
  CHECK(dvk_administer_privileges(segment, 6, &before), -DVK_EDEADSRCDST);
  CHECK(dvk_send(user, to_server, &message, 0), -EAGAIN);
}

static void on_alarm(int number) {
  (void)number;
  dvk_interrupt();
}

static void is_interrupted(void) {
  dvk_message message;
  signal(SIGALRM, on_alarm);
  CHECK(raise(SIGALRM), 0);
  CHECK(dvk_receive(user, DVK_ANY, &message, -1), -EINTR);
  CHECK(dvk_receive(user, DVK_ANY, &message, 0), -EAGAIN);
  CHECK(dvk_clear_interrupt(), 1);
  CHECK(dvk_clear_interrupt(), 0);
  CHECK(dvk_receive(user, DVK_ANY, &message, 1), -ETIMEDOUT);
}

static void copies(void) {
  uint8_t block[100];
  void* address = NULL;
  memset(block, 7, sizeof block);
  CHECK(dvk_arena_allocate(server, 0, &address), -EINVAL);
  CHECK(dvk_arena_allocate(server, 1, NULL), -EINVAL);
  const int64_t offset = dvk_arena_allocate(server, sizeof block, &address);
  CHECK(dvk_arena_at(segment, (uint64_t)offset, sizeof block) == address, 1);
  CHECK(dvk_arena_at(segment, 0, UINT64_MAX) == NULL, 1);
  CHECK(dvk_grant(server, NULL, 1, DVK_RIGHT_READ, DVK_ANY), -EINVAL);
  CHECK(dvk_grant(server, address, 1, 4, DVK_ANY), -EINVAL);
  const int32_t grant = dvk_grant(server, address, sizeof block, DVK_RIGHT_WRITE, DVK_ANY);

  const dvk_party own = dvk_own(block), null = dvk_own(NULL);
  const dvk_party lent = dvk_granted(dvk_endpoint(server), grant, 0);
  const dvk_party odd = dvk_granted(dvk_endpoint(server), -2, 0);
  CHECK(dvk_vcopy(user, &own, &lent, sizeof block, 0), sizeof block);
  CHECK(memcmp(block, address, sizeof block), 0);
  CHECK(dvk_vcopy(user, &own, &lent, sizeof block + 1, 0), -DVK_EDVSGRANT);
  CHECK(dvk_vcopy(user, &lent, &own, sizeof block, 0), -DVK_EDVSGRANT);
  CHECK(dvk_vcopy(user, &own, &own, 1, 0), -DVK_EDVSENDPOINT);
  CHECK(dvk_vcopy(user, &own, &lent, (uint64_t)DVK_COPY_BYTES_MAX + 1, 0), -ERANGE);
  CHECK(dvk_vcopy(user, &null, &lent, 1, 0), -EINVAL);
  CHECK(dvk_vcopy(user, &own, &odd, 1, 0), -EINVAL);
  CHECK(dvk_vcopy(user, NULL, &lent, 1, 0), -EINVAL);
  CHECK(dvk_vcopy(user, &own, NULL, 1, 0), -EINVAL);
  const dvk_copy_element elements[2] = {{own, lent, 10}, {own, odd, 1}};
  CHECK(dvk_vcopy_vector(user, elements, 1, 0), 10);
  CHECK(dvk_vcopy_vector(user, elements, 2, 0), -EINVAL);
  CHECK(dvk_vcopy_vector(user, NULL, 1, 0), -EINVAL);
  CHECK(dvk_vcopy_vector(NULL, elements, 1, 0), -EINVAL);
  CHECK(dvk_vcopy_vector(user, elements, DVK_COPY_ELEMENTS_MAX + 1, 0), -ERANGE);
  CHECK((int64_t)dvk_copied(user), 10);
  const int32_t server_endpoint = dvk_endpoint(server);
  CHECK(dvk_grant_indirect(NULL, server_endpoint, grant, DVK_RIGHT_WRITE, DVK_ANY), -EINVAL);
  CHECK(dvk_grant_indirect(user, server_endpoint, grant, DVK_RIGHT_READ, DVK_ANY), -DVK_EDVSGRANT);
  const int32_t second =
      dvk_grant_indirect(user, server_endpoint, grant, DVK_RIGHT_WRITE, server_endpoint);
  CHECK(second >= 0, 1);
  CHECK(dvk_revoke(server, grant), 0);
  CHECK(dvk_revoke(server, grant), -DVK_EDVSGRANT);
  CHECK(dvk_arena_free(server, (uint64_t)offset), 0);
  CHECK(dvk_arena_free(server, (uint64_t)offset), -EINVAL);
}

static void names_errors(void) {
  CHECK(strcmp(dvk_strerror(0), "no error"), 0);
  CHECK(strcmp(dvk_strerror(-DVK_EDVSNOSLOT), "no process slot is free"), 0);
  CHECK(strcmp(dvk_strerror(DVK_EDVSNOSLOT), "no process slot is free"), 0);
  CHECK(strcmp(dvk_strerror(-EINVAL), "Invalid argument"), 0);
  CHECK(strcmp(dvk_strerror(INT64_MIN), "unknown error"), 0);
  CHECK(strcmp(dvk_strerror(-4095), "unknown error"), 0);
  CHECK(strcmp(dvk_error_name(-DVK_ESRCDIED), "ESRCDIED"), 0);
  CHECK(strcmp(dvk_error_name(-4095), ""), 0);
  CHECK(dvk_abi_version(), DVK_ABI_VERSION);
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  names_errors();
  refuses_null();
  CHECK(dvk_open("/nonexistent", &segment), -ENOENT);
  CHECK(dvk_open(argv[2], &segment), -DVK_EDVSBADSEGMENT);
  CHECK(dvk_open_reason()[0] != 0, 1);
  CHECK(dvk_open(argv[1], &segment), 0);
  CHECK(dvk_open_reason()[0], 0);
  binds();
  calls();
  notifies();
  relays();
  tells();
  privileges();
  is_interrupted();
  copies();
  binds_otherwise();
  unbinds_others();
  stands_by();
  ends();
  CHECK(dvk_close(segment), 0);
  printf("%d checks, %d failed\n", checks, failures);
  return failures == 0 ? 0 : 1;
}
