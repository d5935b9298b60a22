/* Two begin moves of one slot; two of all die. */
#define MOVES 4
#define DEATHS 2
#include "../mark.pml"
