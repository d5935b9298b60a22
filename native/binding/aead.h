// AES-GCM over whole packets, in place, by the OpenSSL that Node.js exports to addons. How long the
// key is tells which AES it is.
//
// node:crypto makes an object and three buffers for each packet, some 5 us of work; this takes one
// call, 0.2 us and what the cipher itself needs. A packet is a head, which is only authenticated,
// the body, and 16 bytes for the tag. The nonce is made as in RFC 9001, section 5.3: the packet's
// number, big-endian, XOR the last bytes of the iv.
//
// Nothing of Node.js is in here: aead_calls.cc has what JavaScript calls, and fuzz/aead_fuzz.cc
// gives this any bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace dvk::binding {

// A secret is a key, of one of two lengths, and the iv behind it.
constexpr size_t kShortKeyBytes = 16, kKeyBytes = 32, kIvBytes = 12, kTagBytes = 16;
constexpr double kNumberLimit = 9007199254740992.0;  // 2^53: beyond, not every integer is a double

// Enciphers the body of `packet` and fills in the tag; `number` is an integer from 0 to below
// kNumberLimit. Returns 0, -EINVAL for impossible arguments, which changes nothing, or -EIO when
// OpenSSL fails.
int aead_seal(std::span<const uint8_t> secret, std::span<uint8_t> packet, uint32_t head_bytes,
              double number);

// The same with the body elsewhere; it must be as long as its place in the packet, and apart.
int aead_seal_from(std::span<const uint8_t> secret, std::span<uint8_t> packet, uint32_t head_bytes,
                   double number, std::span<const uint8_t> body);

// Deciphers the body of `packet`. Returns 0, -EBADMSG when the tag does not fit, after which the
// body is worth nothing, and the errors of `aead_seal`.
int aead_open(std::span<const uint8_t> secret, std::span<uint8_t> packet, uint32_t head_bytes,
              double number);

// The same with the body put elsewhere, where it must fit exactly, and apart.
int aead_open_into(std::span<const uint8_t> secret, std::span<const uint8_t> packet,
                   uint32_t head_bytes, double number, std::span<uint8_t> body);

// The key is wiped wherever this thread kept it for the next packet. Returns 0 or -EINVAL.
int aead_forget(std::span<const uint8_t> secret);

}  // namespace dvk::binding
