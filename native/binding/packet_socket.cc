// Packet sockets, packet(7): the payload of Ethernet frames of one EtherType, many frames for one
// system call.
//
// The kernel makes and takes off Ethernet's own header (SOCK_DGRAM): frames that leave have the
// interface's address as their source. A payload begins with the head of
// src/proxies/ethernet-frame.ts. Of what comes in a filter passes on what is sent to this host and
// to the socket's port. The kernel hands a frame with the tag of a VLAN that this host has no
// interface for on as another host's, so those end at the filter too; an interface of a VLAN is one
// like others.
//
// Numbers of ports are given out by the names of unix sockets, which are those of the network
// namespace, as interfaces are, and end with their process.

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "descriptor.h"
#include "method.h"
#include "registers.h"
#include "socket_calls.h"

namespace dvk::binding {
namespace {

// Frames for one system call.
constexpr size_t kFramesAtOnce = 64;
// A frame up to this is a call or an answer: mostly nothing is behind it, and the next one, if
// there is one, has the descriptor ready again.
constexpr size_t kShortBytes = 512;
// For each frame: bytes, the upper 16 bits of the other end's address, the lower 32.
constexpr size_t kFrameWords = 3;
constexpr uint32_t kHeadBytes = 8, kPortOffset = 2;
// RFC 6335, section 6: the range of ports that nobody is registered for.
constexpr uint32_t kFreePortMin = 49152, kPortMax = 65535;

struct Interface {
  int index = 0;
  uint32_t mtu = 0;
  uint8_t address[ETH_ALEN] = {};
};

bool ask(int fd, unsigned long what, ifreq* request) {
  return ioctl(fd, what, request) == 0;
}

// Of the namespace of `fd`, a socket of any kind. Returns 0, -ENODEV, or -EPROTONOSUPPORT when
// frames of that interface are not Ethernet's.
int read_interface(int fd, const std::string& name, Interface* out) {
  if (name.empty() || name.size() >= IFNAMSIZ) return -ENODEV;
  ifreq request{};
  memcpy(request.ifr_name, name.data(), name.size());
  if (!ask(fd, SIOCGIFINDEX, &request)) return -errno;
  out->index = request.ifr_ifindex;
  if (!ask(fd, SIOCGIFMTU, &request)) return -errno;
  out->mtu = static_cast<uint32_t>(std::max(0, request.ifr_mtu));
  if (!ask(fd, SIOCGIFHWADDR, &request)) return -errno;
  const unsigned short kind = request.ifr_hwaddr.sa_family;
  if (kind != ARPHRD_ETHER && kind != ARPHRD_LOOPBACK) return -EPROTONOSUPPORT;
  memcpy(out->address, request.ifr_hwaddr.sa_data, ETH_ALEN);
  return 0;
}

void write_address(const uint8_t* address, int32_t* words) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(address[i]); };
  words[0] = static_cast<int32_t>(byte(0) << 8 | byte(1));
  words[1] = static_cast<int32_t>(byte(2) << 24 | byte(3) << 16 | byte(4) << 8 | byte(5));
}

void read_address(const int32_t* words, uint8_t* address) {
  const uint64_t bits = static_cast<uint64_t>(static_cast<uint32_t>(words[0])) << 32 |
                        static_cast<uint32_t>(words[1]);
  for (size_t i = 0; i < ETH_ALEN; i++) address[i] = static_cast<uint8_t>(bits >> 8 * (5 - i));
}

// Returns a socket that holds the port for as long as it is open, or -errno: -EADDRINUSE.
int claim_port(int index, uint32_t ether_type, uint32_t port) {
  Descriptor holder(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (holder.get() < 0) return -errno;
  // A name that begins with NUL is in no directory; see unix(7).
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const int count = snprintf(address.sun_path + 1, sizeof address.sun_path - 1,
                             "dvk-packet/%d/%04x/%u", index, ether_type, port);
  const size_t bytes = offsetof(sockaddr_un, sun_path) + 1 + static_cast<size_t>(count);
  if (bind(holder.get(), reinterpret_cast<sockaddr*>(&address), static_cast<socklen_t>(bytes)) !=
      0) {
    return -errno;
  }
  return holder.release();
}

// Any port when 0 is asked for; `port` becomes what was claimed.
int claim_any_port(int index, uint32_t ether_type, uint32_t* port) {
  if (*port != 0) return claim_port(index, ether_type, *port);
  constexpr uint32_t kCount = kPortMax - kFreePortMin + 1;
  uint32_t start = 0;
  if (getrandom(&start, sizeof start, 0) != sizeof start) return -EIO;
  for (uint32_t i = 0; i < kCount; i++) {
    *port = kFreePortMin + (start + i) % kCount;
    const int holder = claim_port(index, ether_type, *port);
    if (holder != -EADDRINUSE) return holder;
  }
  return -EADDRINUSE;
}

// Passes frames to this host for one port, and frames that are too short to have one, which are
// counted above.
bool set_filter(int fd, uint32_t port) {
  constexpr uint32_t kAncillary = static_cast<uint32_t>(SKF_AD_OFF);
  const uint32_t swapped = htons(static_cast<uint16_t>(port));  // Loads are big-endian, ports not.
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kAncillary + SKF_AD_PKTTYPE),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_HOST, 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kHeadBytes, 0, 2),
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, kPortOffset),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, swapped, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  const sock_fprog whole{std::size(program), program};
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &whole, sizeof whole) == 0;
}

bool bind_to(int fd, int index, uint32_t ether_type) {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(static_cast<uint16_t>(ether_type));
  address.sll_ifindex = index;
  return bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

// Writes MTU and address (two words) of an interface.
int js_packet_interface(std::string name, Words out) {
  if (out.length < 3) return -EINVAL;
  const Descriptor any(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (any.get() < 0) return -errno;
  Interface found;
  const int result = read_interface(any.get(), name, &found);
  if (result != 0) return result;
  out.data[0] = static_cast<int32_t>(std::min<uint32_t>(found.mtu, INT32_MAX));
  write_address(found.address, out.data + 1);
  return 0;
}

// Returns a descriptor, and writes the one that holds the port, the port, and the index of the
// interface. Until it is bound, after the filter is set, nothing arrives.
int js_packet_open(std::string name, uint32_t ether_type, uint32_t port, uint32_t buffer_bytes,
                   Words out) {
  if (out.length < 3 || port > kPortMax || ether_type > 0xffff) return -EINVAL;
  Descriptor opened(socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (opened.get() < 0) return -errno;
  Interface found;
  int result = read_interface(opened.get(), name, &found);
  if (result != 0) return result;
  Descriptor holder(claim_any_port(found.index, ether_type, &port));
  if (holder.get() < 0) return holder.get();
  result = set_socket_buffers(opened.get(), buffer_bytes);
  if (result != 0) return result;
  if (!set_filter(opened.get(), port)) return -errno;
  if (!bind_to(opened.get(), found.index, ether_type)) return -errno;
  out.data[0] = holder.release();
  out.data[1] = static_cast<int32_t>(port);
  out.data[2] = found.index;
  return opened.release();
}

// Binds to the interface of that name again, if another one has the name now. Returns its index or
// -errno.
int js_packet_attach(int32_t fd, std::string name, uint32_t ether_type) {
  Interface found;
  const int result = read_interface(fd, name, &found);
  if (result != 0) return result;
  sockaddr_ll bound{};
  socklen_t bytes = sizeof bound;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &bytes) != 0) return -errno;
  const bool is_bound = bound.sll_ifindex == found.index;
  return is_bound || bind_to(fd, found.index, ether_type) ? found.index : -errno;
}

// Only what is `set` has a value: most calls are about one frame.
struct Batch {
  mmsghdr messages[kFramesAtOnce];
  iovec parts[kFramesAtOnce];
  sockaddr_ll others[kFramesAtOnce];

  void set(size_t i, uint8_t* data, size_t bytes) {
    parts[i] = {data, bytes};
    others[i] = {};
    messages[i] = {};
    msghdr& head = messages[i].msg_hdr;
    head.msg_name = &others[i];
    head.msg_namelen = sizeof others[i];
    head.msg_iov = &parts[i];
    head.msg_iovlen = 1;
  }
};

// The memory of one direction, in one piece, since each array that comes from JavaScript costs as
// much as a short frame: a slot for each of kFramesAtOnce frames, then two words, the interface and
// the EtherType, then kFrameWords for each slot.
struct Slots {
  uint8_t* frames = nullptr;
  int32_t* target = nullptr;
  size_t slot_bytes = 0;

  // Returns false when `memory` is none.
  bool set(const Bytes& memory) {
    constexpr size_t kTableBytes = (2 + kFramesAtOnce * kFrameWords) * sizeof(int32_t);
    if (memory.length < kTableBytes) return false;
    slot_bytes = (memory.length - kTableBytes) / kFramesAtOnce;
    frames = memory.data;
    target = reinterpret_cast<int32_t*>(memory.data + kFramesAtOnce * slot_bytes);
    return reinterpret_cast<uintptr_t>(target) % alignof(int32_t) == 0;
  }
  uint8_t* frame(size_t slot) const {
    return frames + slot * slot_bytes;
  }
  int32_t* words(size_t slot) const {
    return target + 2 + slot * kFrameWords;
  }
};

void write_entry(const Slots& slots, size_t slot, size_t bytes, const sockaddr_ll& from) {
  slots.words(slot)[0] = static_cast<int32_t>(bytes);
  write_address(from.sll_addr, slots.words(slot) + 1);
}

// The frames behind the first one. Returns how many there are then.
int receive_more(int32_t fd, const Slots& slots) {
  Batch batch;
  for (size_t i = 1; i < kFramesAtOnce; i++) batch.set(i, slots.frame(i), slots.slot_bytes);
  const int count = uninterrupted([&] {
    return recvmmsg(fd, batch.messages + 1, kFramesAtOnce - 1, MSG_DONTWAIT | MSG_TRUNC, nullptr);
  });
  const int end = 1 + std::max(0, count);
  for (size_t i = 1; i < static_cast<size_t>(end); i++) {
    write_entry(slots, i, batch.messages[i].msg_len, batch.others[i]);
  }
  return end;
}

// Returns how many frames came, 0 for none, or -errno; behind a short one there may be more. A
// frame that is longer than its slot is cut, and its entry has the whole length. While there is
// none, it looks again for `spin_us`.
int js_packet_receive(int32_t fd, Bytes memory, uint32_t spin_us) {
  Slots slots;
  if (!slots.set(memory)) return -EINVAL;
  sockaddr_ll from{};
  const auto receive = [&] {
    socklen_t length = sizeof from;
    return recvfrom(fd, slots.frame(0), slots.slot_bytes, MSG_DONTWAIT | MSG_TRUNC,
                    reinterpret_cast<sockaddr*>(&from), &length);
  };
  const ssize_t bytes = received_within(spin_us, receive);
  if (bytes < 0) return errno == EAGAIN ? 0 : -errno;
  write_entry(slots, 0, static_cast<size_t>(bytes), from);
  return static_cast<size_t>(bytes) <= kShortBytes ? 1 : receive_more(fd, slots);
}

// Where the frame of a slot goes.
sockaddr_ll address_of(const Slots& slots, size_t slot) {
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = slots.target[0];
  to.sll_protocol = htons(static_cast<uint16_t>(slots.target[1]));
  to.sll_halen = ETH_ALEN;
  read_address(slots.words(slot) + 1, to.sll_addr);
  return to;
}

// Sends the frames of the slots from `first` to below `end`. Returns how many went, or -errno of
// the first one.
int js_packet_send(int32_t fd, Bytes memory, uint32_t first, uint32_t end) {
  Slots slots;
  if (!slots.set(memory) || first >= end || end > kFramesAtOnce) return -EINVAL;
  const auto bytes_of = [&](size_t i) { return static_cast<uint32_t>(slots.words(i)[0]); };
  for (size_t i = first; i < end; i++) {
    if (bytes_of(i) > slots.slot_bytes) return -EINVAL;
  }
  const size_t wanted = end - first;
  if (wanted == 1) {
    const sockaddr_ll to = address_of(slots, first);
    const ssize_t sent = uninterrupted([&] {
      return sendto(fd, slots.frame(first), bytes_of(first), MSG_DONTWAIT,
                    reinterpret_cast<const sockaddr*>(&to), sizeof to);
    });
    return sent < 0 ? -errno : 1;
  }
  Batch batch;
  for (size_t i = 0; i < wanted; i++) {
    batch.set(i, slots.frame(first + i), bytes_of(first + i));
    batch.others[i] = address_of(slots, first + i);
  }
  const int count = uninterrupted(
      [&] { return sendmmsg(fd, batch.messages, static_cast<unsigned>(wanted), MSG_DONTWAIT); });
  return count < 0 ? -errno : count;
}

// Frames that found the socket's buffer full, since the last call.
int js_packet_missed(int32_t fd) {
  tpacket_stats statistics{};
  socklen_t bytes = sizeof statistics;
  if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &bytes) != 0) return -errno;
  return static_cast<int>(std::min<uint32_t>(statistics.tp_drops, INT32_MAX));
}

}  // namespace

void register_packet_socket(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {
             {"packetInterface", method<js_packet_interface>},
             {"packetOpen", method<js_packet_open>},
             {"packetAttach", method<js_packet_attach>},
             {"packetReceive", method<js_packet_receive>},
             {"packetSend", method<js_packet_send>},
             {"packetMissed", method<js_packet_missed>},
         });
}

}  // namespace dvk::binding
