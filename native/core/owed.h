// The replies that a server owes: requests that it received and did not answer yet. Private to it.
//
// A client has one call under way at a time, so one that calls again has given up on the call
// before. Each call has a number, which comes with the request and which the reply must match: the
// answer to the call that was given up reaches nobody, and the next call goes on.
#pragma once

#include <cstdint>
#include <vector>

namespace dvk {

class OwedReplies {
 public:
  // Notes a request of `client`, an endpoint whose slot is `slot`.
  void add(uint32_t slot, int32_t client, uint32_t call_id) {
    if (rows_.size() <= slot) rows_.resize((slot / 64 + 1) * 64);
    Row& row = rows_[slot];
    row = {client, call_id, row.client == client ? row.count + 1 : 1};
  }
  // Sets the number of the request of `client` that waits for its answer. Returns false when there
  // is none, or more than one: then only the server knows which one it answers.
  bool find(uint32_t slot, int32_t client, uint32_t* call_id) const {
    if (rows_.size() <= slot || rows_[slot].client != client || rows_[slot].count != 1)
      return false;
    *call_id = rows_[slot].call_id;
    return true;
  }
  // One request of `client` was answered.
  void settle(uint32_t slot, int32_t client) {
    if (rows_.size() <= slot || rows_[slot].client != client) return;
    if (rows_[slot].count > 0) rows_[slot].count--;
  }

 private:
  struct Row {
    int32_t client = 0;
    uint32_t call_id = 0;  // of the request received last
    uint32_t count = 0;    // requests without an answer
  };
  std::vector<Row> rows_;  // by slot
};

}  // namespace dvk
