// A server that moves between the nodes of a network: what its tests share.
#pragma once

#include "../core/migrate.h"
#include "../core/standby.h"
#include "network.h"

namespace dvk::test {

inline constexpr uint32_t kSlot = 9;
inline constexpr int64_t kLong = 60'000;

// A server on node 0 with a backup on node 1; node 2 has neither.
struct Move {
  Move() {
    server = &bind_server(network[0], kSlot, "moving");
    network.pump();
    BindOptions options;
    options.kind = BindKind::kBackup;
    options.level = ProcessLevel::kServer;
    options.name = "moving";
    options.endpoint = server->endpoint;
    options.node = 0;
    CHECK_EQUAL(Process::bind(network[1], options, &backup), 0);
    network.pump();
  }
  int32_t endpoint() const {
    return server->endpoint;
  }
  // Starts a move; the server, which waits in a receive, is told and stops.
  void start() {
    CHECK_EQUAL(migrate_start(network[0], endpoint(), kLong), 0);
    CHECK_EQUAL(step(*server), -EDVSMIGRATING);
    CHECK_EQUAL(start_rcvrqst(*server), kPending);
    network.pump();
  }
  // All of it, for a server that waits in `rcvrqst`; the backup waits there after it.
  void move() {
    start();
    CHECK_EQUAL(migrate_commit(network[0], endpoint(), 1), 0);
    network.pump();
    CHECK_EQUAL(outcome(), 0);
  }
  int outcome() {
    MigrationInfo info{};
    CHECK_EQUAL(migration_info(network[0], endpoint(), &info), 0);
    CHECK_EQUAL(info.state, static_cast<uint32_t>(MigrationState::kNone));
    return info.result;
  }
  ProcessInfo seen(uint32_t node) {
    ProcessInfo info{};
    CHECK_EQUAL(process_info(network[node], kSlot, &info), 0);
    return info;
  }
  // Answers one request at `where`, which has begun its rcvrqst.
  void serve(Process& where, uint64_t value) {
    network.pump();
    CHECK_EQUAL(step(where), 0);
    CHECK_EQUAL(value_of(where.operation.message), value);
    const int32_t client = where.operation.message.source;
    CHECK_EQUAL(reply(where, client, message(2, value + 1)), 0);
    network.pump();
  }
  void whole() {
    for (uint32_t node = 0; node < 3; node++) CHECK_EQUAL(damage(network[node]), "");
  }
  Network network{3};
  Process* server = nullptr;
  Process* backup = nullptr;
};

inline void check_answer(Process& client, uint64_t value) {
  CHECK_EQUAL(step(client), 0);
  CHECK_EQUAL(value_of(client.operation.message), value);
}

}  // namespace dvk::test
