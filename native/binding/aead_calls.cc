// The packet cipher for JavaScript; see aead.h and src/dvk/native.ts.

#include "aead.h"
#include "method.h"
#include "registers.h"

namespace dvk::binding {
namespace {

std::span<uint8_t> span(const Bytes& bytes) {
  return {bytes.data, bytes.length};
}

int js_aead_seal(Bytes secret, Bytes packet, uint32_t head_bytes, double number) {
  return aead_seal(span(secret), span(packet), head_bytes, number);
}

int js_aead_seal_from(Bytes secret, Bytes packet, uint32_t head_bytes, double number, Bytes body) {
  return aead_seal_from(span(secret), span(packet), head_bytes, number, span(body));
}

int js_aead_open(Bytes secret, Bytes packet, uint32_t head_bytes, double number) {
  return aead_open(span(secret), span(packet), head_bytes, number);
}

int js_aead_open_into(Bytes secret, Bytes packet, uint32_t head_bytes, double number, Bytes body) {
  return aead_open_into(span(secret), span(packet), head_bytes, number, span(body));
}

int js_aead_forget(Bytes secret) {
  return aead_forget(span(secret));
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
