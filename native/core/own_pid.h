#pragma once

namespace dvk {

// The caller's pid without a system call, also in a child of fork(2).
int own_pid();

}  // namespace dvk
