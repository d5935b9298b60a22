// The nodes of a DC, and the proxies that are attached for them.

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>

#include "copy_job.h"
#include "link.h"
#include "lock.h"
#include "migrate.h"
#include "rendezvous.h"
#include "standby.h"

namespace dvk {

int check_link(Segment& segment, uint32_t node) {
  if (node >= segment.nodes()) return -EDVSBADNODEID;
  LinkSlot* link = segment.link(node);
  if (link_is(link, LinkState::kAbsent)) return -EDVSNODCNODE;
  if (load(link->proxy_pid) == 0) return -EDVSNOPROXY;
  return link_is(link, LinkState::kUp) ? 0 : -ENOTCONN;
}

int add_node(Segment& segment, uint32_t node, const char* name) {
  if (node >= segment.nodes() || node == segment.node_id()) return -EDVSBADNODEID;
  LinkSlot* link = segment.link(node);
  if (!link_is(link, LinkState::kAbsent)) return -EEXIST;
  char text[kNameBytes] = {};
  memcpy(text, name, std::min(strlen(name), sizeof text - 1));
  memcpy(link->name, text, sizeof text);
  DVK_CRASH_POINT("node.named");
  atomic(link->state).store(static_cast<uint32_t>(LinkState::kDown));
  return 0;
}

void forget_descriptors(Segment& segment, uint32_t node) {
  for (uint32_t i = 0; i < segment.processes(); i++) {
    ProcessSlot* slot = segment.slot(i);
    const bool remote = atomic(slot->life).load() == static_cast<uint32_t>(ProcessLife::kRemote);
    if (remote && load(slot->node) == node) {
      release_descriptor(segment, i);
    }
  }
}

int remove_node(Segment& segment, uint32_t node) {
  if (node >= segment.nodes() || node == segment.node_id()) return -EDVSBADNODEID;
  if (link_is(segment.link(node), LinkState::kAbsent)) return -EDVSNODCNODE;
  link_down(segment, node);
  DVK_CRASH_POINT("node.down");
  // With the lock until it is no member any more, so that no descriptor is bound meanwhile.
  const TableLock lock(segment);
  if (lock.error() != 0) return lock.error();
  migrations_removed(segment, node);
  forget_descriptors(segment, node);
  DVK_CRASH_POINT("node.forgotten");
  atomic(segment.link(node)->state).store(static_cast<uint32_t>(LinkState::kAbsent));
  return 0;
}

int attach_proxy(Segment& segment, uint32_t node, uint64_t wake_id) {
  if (node >= segment.nodes() || node == segment.node_id()) return -EDVSBADNODEID;
  LinkSlot* link = segment.link(node);
  if (link_is(link, LinkState::kAbsent)) return -EDVSNODCNODE;
  const int pid = load(link->proxy_pid);
  if (pid != 0 && pid != getpid() && process_alive(pid, load(link->proxy_start_time))) {
    return -EDVSPROXYRUN;
  }
  drop_proxy_copy_job(segment);
  store(link->wake_id, wake_id);
  store(link->proxy_start_time, process_start_time(getpid()));
  store(link->proxy_pid, getpid());
  reset_sleeping(link);
  DVK_CRASH_POINT("proxy.attached");
  return 0;
}

int detach_proxy(Segment& segment, uint32_t node) {
  if (node >= segment.nodes() || node == segment.node_id()) return -EDVSBADNODEID;
  LinkSlot* link = segment.link(node);
  if (link_is(link, LinkState::kAbsent)) return -EDVSNODCNODE;
  if (load(link->proxy_pid) != getpid()) return -EDVSNOPROXY;
  // While it is the proxy yet: should it die in here, the link is taken down as that of a dead one.
  const int error = link_down(segment, node);
  drop_proxy_copy_job(segment);
  store(link->proxy_pid, 0);
  store(link->wake_id, uint64_t{0});
  return error;
}

}  // namespace dvk
