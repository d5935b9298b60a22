// AES-GCM over whole packets, in place, by the OpenSSL that Node.js exports to addons. How long the
// key is tells which AES it is.
//
// node:crypto makes an object and three buffers for each packet, some 5 us of work; this takes one
// call, 0.2 us and what the cipher itself needs. A packet is a head, which is only authenticated,
// the body, and 16 bytes for the tag. The nonce is made as in RFC 9001, section 5.3: the packet's
// number, big-endian, XOR the last bytes of the iv.

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <memory>

#include "method.h"
#include "registers.h"

namespace dvk::binding {
namespace {

constexpr size_t kShortKeyBytes = 16, kKeyBytes = 32, kIvBytes = 12, kTagBytes = 16;
constexpr size_t kPacketBytesMax = size_t{1} << 30;  // lengths are ints in OpenSSL
constexpr double kNumberLimit = 9007199254740992.0;  // 2^53: beyond, not every integer is a double

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const {
    EVP_CIPHER_CTX_free(context);
  }
};

using Context = std::unique_ptr<EVP_CIPHER_CTX, FreeContext>;

Context make_context(const EVP_CIPHER* cipher) {
  Context made(EVP_CIPHER_CTX_new());
  const bool is_good =
      made != nullptr && EVP_CipherInit_ex(made.get(), cipher, nullptr, nullptr, nullptr, 1) == 1;
  return is_good ? std::move(made) : nullptr;
}

// Contexts that have a key already: to take one costs more than a short packet. Each knows its
// cipher too, since to look that up takes as long. The key that was used last the longest ago goes
// when another one comes.
class Keys {
 public:
  explicit Keys(const EVP_CIPHER* cipher) : cipher_(cipher) {}

  // Null when OpenSSL fails.
  EVP_CIPHER_CTX* find(const Bytes& secret) {
    Keyed* oldest = &all_[0];
    for (Keyed& one : all_) {
      if (one.has(secret)) {
        one.used = ++uses_;
        return one.context.get();
      }
      if (one.used < oldest->used) oldest = &one;
    }
    return oldest->take(secret, cipher_, ++uses_) ? oldest->context.get() : nullptr;
  }

  void forget(const Bytes& secret) {
    for (Keyed& one : all_) {
      if (one.has(secret)) one.clear();
    }
  }

 private:
  struct Keyed {
    Context context;
    std::array<uint8_t, kKeyBytes + kIvBytes> secret{};
    bool is_set = false;
    uint64_t used = 0;

    bool has(const Bytes& other) const {
      return is_set && std::equal(other.data, other.data + other.length, secret.begin());
    }
    bool take(const Bytes& other, const EVP_CIPHER* cipher, uint64_t use) {
      if (context == nullptr) context = make_context(cipher);
      is_set = context != nullptr &&
               EVP_CipherInit_ex(context.get(), nullptr, nullptr, other.data, nullptr, 1) == 1;
      std::copy(other.data, other.data + other.length, secret.begin());
      used = use;
      return is_set;
    }
    // OpenSSL wipes what it frees.
    void clear() {
      context.reset();
      OPENSSL_cleanse(secret.data(), secret.size());
      is_set = false;
      used = 0;
    }
  };

  // Of as many directions of connections.
  static constexpr size_t kKeysMax = 16;

  const EVP_CIPHER* cipher_;
  std::array<Keyed, kKeysMax> all_;
  uint64_t uses_ = 0;
};

// All keys of one of them have the same length.
Keys& keys_of(const Bytes& secret) {
  thread_local Keys own(EVP_aes_256_gcm());
  thread_local Keys own_short(EVP_aes_128_gcm());
  return secret.length == kKeyBytes + kIvBytes ? own : own_short;
}

using Nonce = std::array<uint8_t, kIvBytes>;

Nonce nonce_of(const uint8_t* iv, uint64_t number) {
  Nonce nonce;
  std::copy(iv, iv + kIvBytes, nonce.begin());
  for (size_t i = 0; i < 8; i++) {
    nonce[kIvBytes - 1 - i] ^= static_cast<uint8_t>(number >> 8 * i);
  }
  return nonce;
}

bool is_secret(const Bytes& secret) {
  return secret.length == kKeyBytes + kIvBytes || secret.length == kShortKeyBytes + kIvBytes;
}

bool is_sensible(const Bytes& secret, const Bytes& packet, uint32_t head_bytes, double number) {
  return is_secret(secret) && packet.length <= kPacketBytesMax &&
         packet.length >= size_t{head_bytes} + kTagBytes && number >= 0 && number < kNumberLimit &&
         number == std::floor(number);
}

// Head and body through the cipher, the body from `source` to `target`. Leaves the context ready
// for the tag.
bool pass(EVP_CIPHER_CTX* cipher, const Bytes& packet, uint32_t head_bytes, const uint8_t* source,
          uint8_t* target) {
  const int body = static_cast<int>(packet.length - head_bytes - kTagBytes);
  int count = 0;
  return EVP_CipherUpdate(cipher, nullptr, &count, packet.data, static_cast<int>(head_bytes)) ==
             1 &&
         EVP_CipherUpdate(cipher, target, &count, source, body) == 1;
}

bool begin(EVP_CIPHER_CTX* cipher, const Bytes& secret, double number, int encrypts) {
  const Nonce nonce =
      nonce_of(secret.data + secret.length - kIvBytes, static_cast<uint64_t>(number));
  return cipher != nullptr &&
         EVP_CipherInit_ex(cipher, nullptr, nullptr, nullptr, nonce.data(), encrypts) == 1;
}

// The body is that of `source`, which may be where it goes.
int seal(const Bytes& secret, const Bytes& packet, uint32_t head_bytes, double number,
         const uint8_t* source) {
  EVP_CIPHER_CTX* const cipher = keys_of(secret).find(secret);
  int count = 0;
  uint8_t* const tag = packet.data + packet.length - kTagBytes;
  uint8_t* const body = packet.data + head_bytes;
  if (!begin(cipher, secret, number, 1)) return -EIO;
  if (!pass(cipher, packet, head_bytes, source, body)) return -EIO;
  if (EVP_CipherFinal_ex(cipher, tag, &count) != 1) return -EIO;
  return EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, kTagBytes, tag) == 1 ? 0 : -EIO;
}

// Returns 0, -EINVAL for impossible arguments, or -EIO when OpenSSL fails.
int js_aead_seal(Bytes secret, Bytes packet, uint32_t head_bytes, double number) {
  if (!is_sensible(secret, packet, head_bytes, number)) return -EINVAL;
  return seal(secret, packet, head_bytes, number, packet.data + head_bytes);
}

// The same with the body elsewhere; it must be as long as its place in the packet, and apart.
int js_aead_seal_from(Bytes secret, Bytes packet, uint32_t head_bytes, double number, Bytes body) {
  if (!is_sensible(secret, packet, head_bytes, number)) return -EINVAL;
  if (body.length != packet.length - head_bytes - kTagBytes) return -EINVAL;
  return seal(secret, packet, head_bytes, number, body.data);
}

int open(const Bytes& secret, const Bytes& packet, uint32_t head_bytes, double number,
         uint8_t* target) {
  EVP_CIPHER_CTX* const cipher = keys_of(secret).find(secret);
  std::array<uint8_t, kTagBytes> rest;
  int count = 0;
  uint8_t* const tag = packet.data + packet.length - kTagBytes;
  const uint8_t* const body = packet.data + head_bytes;
  if (!begin(cipher, secret, number, 0)) return -EIO;
  if (!pass(cipher, packet, head_bytes, body, target)) return -EIO;
  if (EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag) != 1) return -EIO;
  return EVP_CipherFinal_ex(cipher, rest.data(), &count) == 1 ? 0 : -EBADMSG;
}

// Returns 0, -EBADMSG when the tag does not fit, and the errors of `js_aead_seal`.
int js_aead_open(Bytes secret, Bytes packet, uint32_t head_bytes, double number) {
  if (!is_sensible(secret, packet, head_bytes, number)) return -EINVAL;
  return open(secret, packet, head_bytes, number, packet.data + head_bytes);
}

// The same with the body put elsewhere, where it must fit exactly, and apart.
int js_aead_open_into(Bytes secret, Bytes packet, uint32_t head_bytes, double number, Bytes body) {
  if (!is_sensible(secret, packet, head_bytes, number)) return -EINVAL;
  if (body.length != packet.length - head_bytes - kTagBytes) return -EINVAL;
  return open(secret, packet, head_bytes, number, body.data);
}

// The key is wiped wherever it was kept for the next packet.
int js_aead_forget(Bytes secret) {
  if (!is_secret(secret)) return -EINVAL;
  keys_of(secret).forget(secret);
  return 0;
}

}  // namespace

void register_aead(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {{"aeadSeal", method<js_aead_seal>},
          {"aeadSealFrom", method<js_aead_seal_from>},
          {"aeadOpen", method<js_aead_open>},
          {"aeadOpenInto", method<js_aead_open_into>},
          {"aeadForget", method<js_aead_forget>}});
}

}  // namespace dvk::binding
