/* A process goes to and fro; the link is cut at any moment. */
#define MOVES 4
#define CUTS 3
#define DEATHS 0
#include "../migration.pml"
