// See aead.h.

#include "aead.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <memory>

namespace dvk::binding {
namespace {

using Secret = std::span<const uint8_t>;

constexpr size_t kPacketBytesMax = size_t{1} << 30;  // lengths are ints in OpenSSL

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
  EVP_CIPHER_CTX* find(Secret secret) {
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

  void forget(Secret secret) {
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

    bool has(Secret other) const {
      return is_set && std::equal(other.begin(), other.end(), secret.begin());
    }
    bool take(Secret other, const EVP_CIPHER* cipher, uint64_t use) {
      if (context == nullptr) context = make_context(cipher);
      is_set = context != nullptr &&
               EVP_CipherInit_ex(context.get(), nullptr, nullptr, other.data(), nullptr, 1) == 1;
      std::copy(other.begin(), other.end(), secret.begin());
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
Keys& keys_of(Secret secret) {
  thread_local Keys own(EVP_aes_256_gcm());
  thread_local Keys own_short(EVP_aes_128_gcm());
  return secret.size() == kKeyBytes + kIvBytes ? own : own_short;
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

bool is_secret(Secret secret) {
  return secret.size() == kKeyBytes + kIvBytes || secret.size() == kShortKeyBytes + kIvBytes;
}

bool is_sensible(Secret secret, std::span<const uint8_t> packet, uint32_t head_bytes,
                 double number) {
  return is_secret(secret) && packet.size() <= kPacketBytesMax &&
         packet.size() >= size_t{head_bytes} + kTagBytes && number >= 0 && number < kNumberLimit &&
         number == std::floor(number);
}

// Head and body through the cipher, the body from `source` to `target`. Leaves the context ready
// for the tag.
bool pass(EVP_CIPHER_CTX* cipher, std::span<const uint8_t> packet, uint32_t head_bytes,
          const uint8_t* source, uint8_t* target) {
  const int body = static_cast<int>(packet.size() - head_bytes - kTagBytes);
  int count = 0;
  return EVP_CipherUpdate(cipher, nullptr, &count, packet.data(), static_cast<int>(head_bytes)) ==
             1 &&
         EVP_CipherUpdate(cipher, target, &count, source, body) == 1;
}

bool begin(EVP_CIPHER_CTX* cipher, Secret secret, double number, int encrypts) {
  const Nonce nonce =
      nonce_of(secret.data() + secret.size() - kIvBytes, static_cast<uint64_t>(number));
  return cipher != nullptr &&
         EVP_CipherInit_ex(cipher, nullptr, nullptr, nullptr, nonce.data(), encrypts) == 1;
}

// The body is that of `source`, which may be where it goes.
int seal(Secret secret, std::span<uint8_t> packet, uint32_t head_bytes, double number,
         const uint8_t* source) {
  EVP_CIPHER_CTX* const cipher = keys_of(secret).find(secret);
  int count = 0;
  uint8_t* const tag = packet.data() + packet.size() - kTagBytes;
  uint8_t* const body = packet.data() + head_bytes;
  if (!begin(cipher, secret, number, 1)) return -EIO;
  if (!pass(cipher, packet, head_bytes, source, body)) return -EIO;
  if (EVP_CipherFinal_ex(cipher, tag, &count) != 1) return -EIO;
  return EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, kTagBytes, tag) == 1 ? 0 : -EIO;
}

int open(Secret secret, std::span<const uint8_t> packet, uint32_t head_bytes, double number,
         uint8_t* target) {
  EVP_CIPHER_CTX* const cipher = keys_of(secret).find(secret);
  std::array<uint8_t, kTagBytes> tag, rest;
  int count = 0;
  std::copy_n(packet.end() - kTagBytes, kTagBytes, tag.begin());
  const uint8_t* const body = packet.data() + head_bytes;
  if (!begin(cipher, secret, number, 0)) return -EIO;
  if (!pass(cipher, packet, head_bytes, body, target)) return -EIO;
  if (EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag.data()) != 1) return -EIO;
  return EVP_CipherFinal_ex(cipher, rest.data(), &count) == 1 ? 0 : -EBADMSG;
}

}  // namespace

int aead_seal(Secret secret, std::span<uint8_t> packet, uint32_t head_bytes, double number) {
  if (!is_sensible(secret, packet, head_bytes, number)) return -EINVAL;
  return seal(secret, packet, head_bytes, number, packet.data() + head_bytes);
}

int aead_seal_from(Secret secret, std::span<uint8_t> packet, uint32_t head_bytes, double number,
                   std::span<const uint8_t> body) {
  if (!is_sensible(secret, packet, head_bytes, number)) return -EINVAL;
  if (body.size() != packet.size() - head_bytes - kTagBytes) return -EINVAL;
  return seal(secret, packet, head_bytes, number, body.data());
}

int aead_open(Secret secret, std::span<uint8_t> packet, uint32_t head_bytes, double number) {
  if (!is_sensible(secret, packet, head_bytes, number)) return -EINVAL;
  return open(secret, packet, head_bytes, number, packet.data() + head_bytes);
}

int aead_open_into(Secret secret, std::span<const uint8_t> packet, uint32_t head_bytes,
                   double number, std::span<uint8_t> body) {
  if (!is_sensible(secret, packet, head_bytes, number)) return -EINVAL;
  if (body.size() != packet.size() - head_bytes - kTagBytes) return -EINVAL;
  return open(secret, packet, head_bytes, number, body.data());
}

int aead_forget(Secret secret) {
  if (!is_secret(secret)) return -EINVAL;
  keys_of(secret).forget(secret);
  return 0;
}

}  // namespace dvk::binding
