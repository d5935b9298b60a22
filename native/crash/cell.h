// One cell of the matrix: a scenario in which processes are stopped at given points.
#pragma once

#include <string>
#include <vector>

#include "scenario.h"

namespace dvk::crash {

// Plays the scenario with a shot for each role, and looks at what is left: that nobody hung, that
// the tables are whole, that the slot of the dead is given out again, that its endpoint reaches
// nobody, that no memory is lost. Returns what is wrong, or "". `board` is memory that children
// share; it holds the hits afterwards.
std::string play(const Scenario& scenario, const std::vector<Shot>& shots, Board& board);

}  // namespace dvk::crash
