/* The ends of other processes; a part of dvk.h, which includes it. */
#ifndef DVK_ENDS_H
#define DVK_ENDS_H

/*
 * Unbinds `endpoint`, a process of another program of this host: that gets SIGTERM, the call in
 * which the process waits ends with -DVK_EDVSSHUTDOWN, and the caller waits until it has unbound or
 * its program has ended. A slot of dvk_bind_for() that was not taken yet is freed. For
 * administration, as far as the caller may signal that program and read its /proc/PID/maps.
 *
 * Returns 0; -ETIMEDOUT, or -EAGAIN for a time-out of 0: it was asked, and is still bound; -EINTR;
 * -ERANGE, -DVK_EDEADSRCDST, -DVK_EDVSRMTPROC (it is of another node, or a backup of such a one),
 * -DVK_EDVSENDPOINT (it is of the caller's program), -DVK_EDVSDCNOTRUN, -EPERM (not for the caller,
 * or no program that has mapped this segment). An error other than -EAGAIN, -ETIMEDOUT and -EINTR
 * means that nobody was asked, unless the table of processes was locked for 1 s (-ETIMEDOUT too).
 */
DVK_API int dvk_unbind_for(dvk_segment* segment, int32_t endpoint, int64_t timeout_ms);

/* A process of this node that has gone; see dvk_find_departure(). */
typedef struct dvk_departure {
  uint64_t number; /* from 1; each has the next one */
  int32_t endpoint, pid;
  int32_t status; /* DVK_UNBOUND or DVK_ENDED: nobody but its parent knows a program's exit code */
  int32_t level;  /* DVK_LEVEL_... */
  char name[DVK_NAME_BYTES];
} dvk_departure;

enum { DVK_UNBOUND = 0, DVK_ENDED = -1 };

/*
 * From now on each process of this node that goes notifies `endpoint`, a process of this node, as
 * DVK_KERNEL with `value`; DVK_NONE: nobody. One is warned at a time, the last one named. For
 * administration. Returns 0, -ERANGE, -DVK_EDEADSRCDST, -DVK_EDVSRMTPROC.
 */
DVK_API int dvk_set_warned(dvk_segment* segment, int32_t endpoint, uint32_t value);

/*
 * Fills `*departure` with the first one that has `number` or a higher one. Returns 1, or 0 when
 * there is none yet. The last DVK_DEPARTURES are kept: who asks for the number after the one that
 * it had last, and gets a higher one, has missed those in between.
 */
DVK_API int dvk_find_departure(const dvk_segment* segment, uint64_t number,
                               dvk_departure* departure);

#endif
