/* The same, and a process or its backup dies. */
#define MOVES 3
#define CUTS 2
#define DEATHS 1
#include "../migration.pml"
