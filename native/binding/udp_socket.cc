// UDP sockets, many datagrams for one system call, and for one walk through the kernel: datagrams
// of one length to one place go as segments of one (UDP_SEGMENT, Linux 4.18), and those that came
// together are taken together (UDP_GRO, Linux 5.0).
//
// The socket is one that Node.js has made and bound, and reads no more; here a second descriptor of
// it is used. An address is a sockaddr_in or sockaddr_in6, in kAddressWords words.

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "descriptor.h"
#include "method.h"
#include "registers.h"
#include "socket_calls.h"

namespace dvk::binding {
namespace {

constexpr size_t kAddressWords = sizeof(sockaddr_in6) / sizeof(int32_t);
// For each slot: bytes, the length of a segment of what was received, an address.
constexpr size_t kEntryWords = 2 + kAddressWords;
constexpr size_t kSendSlots = 64, kReceiveSlots = 16;
// A datagram up to this is a call or an answer: mostly nothing is behind it, and the next one, if
// there is one, has the descriptor ready again.
constexpr size_t kShortBytes = 512;
// Of IP with the header of UDP, IPv4's own and that of IPv6.
constexpr size_t kSegmentsBytesMax = 65'535 - 8 - 40;
constexpr size_t kNameBytesMax = 128;

// The memory of one direction, in one piece: slots of the same length, then their entries.
struct Slots {
  uint8_t* data = nullptr;
  int32_t* entries = nullptr;
  size_t bytes = 0;

  // Returns false when `memory` is none.
  bool set(const Bytes& memory, size_t count) {
    const size_t table = count * kEntryWords * sizeof(int32_t);
    if (memory.length < table) return false;
    bytes = (memory.length - table) / count;
    data = memory.data;
    entries = reinterpret_cast<int32_t*>(memory.data + count * bytes);
    return reinterpret_cast<uintptr_t>(entries) % alignof(int32_t) == 0;
  }
  uint8_t* slot(size_t i) const {
    return data + i * bytes;
  }
  int32_t* entry(size_t i) const {
    return entries + i * kEntryWords;
  }
  size_t length(size_t i) const {
    return static_cast<uint32_t>(entry(i)[0]);
  }
  int32_t* address(size_t i) const {
    return entry(i) + 2;
  }
};

socklen_t address_bytes(const int32_t* address) {
  sa_family_t family;
  memcpy(&family, address, sizeof family);
  if (family == AF_INET) return sizeof(sockaddr_in);
  return family == AF_INET6 ? sizeof(sockaddr_in6) : 0;
}

// A message and what it points to.
struct Envelope {
  iovec part;
  sockaddr_storage from;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];

  void open(msghdr* head, uint8_t* data, size_t bytes) {
    part = {data, bytes};
    *head = {};
    head->msg_name = &from;
    head->msg_namelen = sizeof from;
    head->msg_iov = &part;
    head->msg_iovlen = 1;
    head->msg_control = control;
    head->msg_controllen = sizeof control;
  }
};

// The length of the datagrams that a message of `bytes` bytes is made of.
int32_t segment_of(msghdr* head, size_t bytes) {
  for (cmsghdr* item = CMSG_FIRSTHDR(head); item != nullptr; item = CMSG_NXTHDR(head, item)) {
    if (item->cmsg_level != SOL_UDP || item->cmsg_type != UDP_GRO) continue;
    int segment;
    memcpy(&segment, CMSG_DATA(item), sizeof segment);
    if (segment > 0) return segment;
  }
  return static_cast<int32_t>(bytes);
}

void write_entry(const Slots& slots, size_t i, msghdr* head, size_t bytes) {
  int32_t* entry = slots.entry(i);
  entry[0] = static_cast<int32_t>(bytes);
  entry[1] = segment_of(head, bytes);
  memset(slots.address(i), 0, kAddressWords * sizeof(int32_t));
  memcpy(slots.address(i), head->msg_name,
         std::min<size_t>(head->msg_namelen, sizeof(sockaddr_in6)));
}

// What came behind the first one. Returns how many slots are full then.
int receive_more(int32_t fd, const Slots& slots) {
  mmsghdr messages[kReceiveSlots];
  Envelope envelopes[kReceiveSlots];
  for (size_t i = 1; i < kReceiveSlots; i++) {
    envelopes[i].open(&messages[i].msg_hdr, slots.slot(i), slots.bytes);
  }
  const int count = uninterrupted(
      [&] { return recvmmsg(fd, messages + 1, kReceiveSlots - 1, MSG_DONTWAIT, nullptr); });
  const int end = 1 + std::max(0, count);
  for (size_t i = 1; i < static_cast<size_t>(end); i++) {
    write_entry(slots, i, &messages[i].msg_hdr, messages[i].msg_len);
  }
  return end;
}

// A second descriptor of the socket, which takes datagrams together where the kernel can. -EBADF,
// -ENOTSOCK, -EPROTOTYPE, -EMFILE.
int js_udp_open(int32_t fd) {
  int protocol = 0;
  socklen_t bytes = sizeof protocol;
  if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &bytes) != 0) return -errno;
  if (protocol != IPPROTO_UDP) return -EPROTOTYPE;
  const int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (own < 0) return -errno;
  const int on = 1;
  setsockopt(own, SOL_UDP, UDP_GRO, &on, sizeof on);
  return own;
}

// Returns how many slots were filled, 0 for none, or -errno; behind a short datagram there may be
// more. While there is none, it looks again for `spin_us`.
int js_udp_receive(int32_t fd, Bytes memory, uint32_t spin_us) {
  Slots slots;
  if (!slots.set(memory, kReceiveSlots)) return -EINVAL;
  msghdr head;
  Envelope envelope;
  const auto receive = [&] {
    envelope.open(&head, slots.slot(0), slots.bytes);
    return recvmsg(fd, &head, MSG_DONTWAIT);
  };
  const ssize_t bytes = received_within(spin_us, receive);
  if (bytes < 0) return errno == EAGAIN ? 0 : -errno;
  write_entry(slots, 0, &head, static_cast<size_t>(bytes));
  return static_cast<size_t>(bytes) <= kShortBytes ? 1 : receive_more(fd, slots);
}

// How many of the slots from `first` to below `end` may go as segments of one message: all as long
// as the first one, but the last, which may be shorter.
size_t run_of(const Slots& slots, size_t first, size_t end) {
  const size_t length = slots.length(first);
  size_t total = length;
  size_t at = first + 1;
  for (; at < end && length > 0; at++) {
    const size_t next = slots.length(at);
    if (next == 0 || next > length || total + next > kSegmentsBytesMax) break;
    if (memcmp(slots.address(at), slots.address(first), kAddressWords * sizeof(int32_t)) != 0) {
      break;
    }
    total += next;
    if (next < length) return at + 1 - first;
  }
  return at - first;
}

// What is to be sent from one slot, or from several as segments.
struct Parcel {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(uint16_t))];

  void open(msghdr* head, const Slots& slots, size_t first, size_t count, iovec* parts) {
    for (size_t i = 0; i < count; i++) {
      parts[i] = {slots.slot(first + i), slots.length(first + i)};
    }
    *head = {};
    const socklen_t to = address_bytes(slots.address(first));
    if (to > 0) {
      head->msg_name = slots.address(first);
      head->msg_namelen = to;
    }
    head->msg_iov = parts;
    head->msg_iovlen = count;
    if (count == 1) return;
    head->msg_control = control;
    head->msg_controllen = sizeof control;
    cmsghdr* item = CMSG_FIRSTHDR(head);
    item->cmsg_level = SOL_UDP;
    item->cmsg_type = UDP_SEGMENT;
    item->cmsg_len = CMSG_LEN(sizeof(uint16_t));
    const uint16_t segment = static_cast<uint16_t>(slots.length(first));
    memcpy(CMSG_DATA(item), &segment, sizeof segment);
  }
};

int send_one(int32_t fd, const Slots& slots, size_t slot) {
  msghdr head;
  iovec part;
  Parcel parcel;
  parcel.open(&head, slots, slot, 1, &part);
  const ssize_t sent = uninterrupted([&] { return sendmsg(fd, &head, MSG_DONTWAIT); });
  return sent < 0 ? -errno : 1;
}

// Sends the datagrams of the slots from `first` to below `end`. Returns how many went, or -errno of
// the first one. `together`: those that are alike may go as segments.
int js_udp_send(int32_t fd, Bytes memory, uint32_t first, uint32_t end, bool together) {
  Slots slots;
  if (!slots.set(memory, kSendSlots) || first >= end || end > kSendSlots) return -EINVAL;
  for (size_t i = first; i < end; i++) {
    if (slots.length(i) > slots.bytes) return -EINVAL;
  }
  if (end - first == 1) return send_one(fd, slots, first);
  mmsghdr messages[kSendSlots];
  iovec parts[kSendSlots];
  Parcel parcels[kSendSlots];
  size_t runs[kSendSlots];
  size_t count = 0;
  for (size_t at = first; at < end; count++) {
    runs[count] = together ? run_of(slots, at, end) : 1;
    parcels[count].open(&messages[count].msg_hdr, slots, at, runs[count], parts + at);
    at += runs[count];
  }
  const int sent = uninterrupted(
      [&] { return sendmmsg(fd, messages, static_cast<unsigned>(count), MSG_DONTWAIT); });
  if (sent < 0) {
    // Of segments that the host does not take as such each may be right by itself.
    const bool full = errno == EAGAIN || errno == ENOBUFS;
    return runs[0] > 1 && !full ? send_one(fd, slots, first) : -errno;
  }
  size_t datagrams = 0;
  for (size_t i = 0; i < static_cast<size_t>(sent); i++) datagrams += runs[i];
  return static_cast<int>(datagrams);
}

// As Node.js has them: 127.0.0.1:1 or [fe80::1%eth0]:1. Empty when `address` is none.
std::string js_udp_name(Words address) {
  if (address.length < kAddressWords) return "";
  char text[kNameBytesMax];
  if (address_bytes(address.data) == sizeof(sockaddr_in)) {
    sockaddr_in in;
    memcpy(&in, address.data, sizeof in);
    if (inet_ntop(AF_INET, &in.sin_addr, text, sizeof text) == nullptr) return "";
    return std::string(text) + ":" + std::to_string(ntohs(in.sin_port));
  }
  sockaddr_in6 in;
  memcpy(&in, address.data, sizeof in);
  if (in.sin6_family != AF_INET6) return "";
  if (inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof text) == nullptr) return "";
  std::string name = std::string("[") + text;
  char interface[IF_NAMESIZE];
  if (in.sin6_scope_id != 0 && if_indextoname(in.sin6_scope_id, interface) != nullptr) {
    name += std::string("%") + interface;
  }
  return name + "]:" + std::to_string(ntohs(in.sin6_port));
}

// The other way round: writes the address of a host, which is a number, and port. -EINVAL.
int js_udp_address(std::string host, uint32_t port, Words out) {
  if (out.length < kAddressWords || port > 0xffff) return -EINVAL;
  memset(out.data, 0, kAddressWords * sizeof(int32_t));
  sockaddr_in four{};
  if (inet_pton(AF_INET, host.c_str(), &four.sin_addr) == 1) {
    four.sin_family = AF_INET;
    four.sin_port = htons(static_cast<uint16_t>(port));
    memcpy(out.data, &four, sizeof four);
    return 0;
  }
  const size_t scope = host.find('%');
  sockaddr_in6 six{};
  if (inet_pton(AF_INET6, host.substr(0, scope).c_str(), &six.sin6_addr) != 1) return -EINVAL;
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(static_cast<uint16_t>(port));
  if (scope != std::string::npos) {
    six.sin6_scope_id = if_nametoindex(host.c_str() + scope + 1);
    if (six.sin6_scope_id == 0) return -EINVAL;
  }
  memcpy(out.data, &six, sizeof six);
  return 0;
}

}  // namespace

void register_udp_socket(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {
             {"udpOpen", method<js_udp_open>},
             {"udpReceive", method<js_udp_receive>},
             {"udpSend", method<js_udp_send>},
             {"udpName", method<js_udp_name>},
             {"udpAddress", method<js_udp_address>},
         });
}

}  // namespace dvk::binding
