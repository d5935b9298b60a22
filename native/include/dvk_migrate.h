/* Backups that take over, and moves to other nodes; a part of dvk.h, which includes it. */
#ifndef DVK_MIGRATE_H
#define DVK_MIGRATE_H

/*
 * Makes the backup of `endpoint` on this node its owner. Calls of this node's processes to the
 * primary that are under way end with -DVK_EDSTDIED or -DVK_ESRCDIED, later ones reach the new
 * owner. Who promotes makes sure that the primary is gone: another node believes it once it has
 * lost the primary's node, or heard that the primary unbound. For administration. Returns 0,
 * -DVK_EDEADSRCDST, -ERANGE, -DVK_EDVSPROCSTS (it has no backup here), -ESRCH (the backup is dead),
 * -DVK_EDVSMIGRATING (it moves to another node just now), -DVK_EDVSDCNOTRUN, -ETIMEDOUT (locked for
 * 5 s).
 */
DVK_API int dvk_promote(dvk_segment* segment, int32_t endpoint);

/*
 * Moves `endpoint`, a process of this node in a fixed slot, to `node`, where a backup of it stands
 * by, which takes its place; it is the backup of that one then. The process is told: one receive
 * fails with -DVK_EDVSMIGRATING. It hands its state to the backup in any way, gives back its grants
 * and arena memory, and calls a receive again, which waits. Callers on all nodes wait, and are
 * answered at the new place. For administration. Waits `timeout_ms` (0 or more) at most until the
 * process may move, and for the answer of `node`.
 *
 * Returns 0; -ETIMEDOUT (the process did not stop, or a node did not answer), -DVK_EDVSPROCSTS (it
 * owes replies, has grants, arena memory or messages of dvk_senda() under way, or was bound with
 * DVK_BOUND_NOMIGRATE or as a replica), -ESRCH (no backup lives there), -DVK_EDVSMIGRATING (it
 * moves already), -DVK_EDVSBADPROC (no fixed slot), -DVK_EDVSRMTPROC (it is on another node),
 * -DVK_EDSTDIED, -ERANGE, -DVK_EDEADSRCDST; of `node` -DVK_EDVSBADNODEID, -DVK_EDVSLCLPROC,
 * -DVK_EDVSNODCNODE, -DVK_EDVSNOPROXY, -ENOTCONN. In all these cases the process goes on where it
 * was, but for one: -ENOTCONN because the link is lost in the middle; then the other node has it,
 * or gives it back when the link is up again. -DVK_EDVSDCNOTRUN.
 */
DVK_API int dvk_migrate(dvk_segment* segment, int32_t endpoint, int node, int64_t timeout_ms);

/*
 * The steps of it. dvk_migrate_start() holds callers and tells the process; without a commit it
 * ends by itself after `timeout_ms`. dvk_migrate_commit() returns 0 when the move is under way,
 * -EAGAIN while the process has not stopped or a node has not answered, and -DVK_EDVSPROCSTS while
 * it may not move: call it again. dvk_migrate_rollback() lets the process and its callers go on;
 * -DVK_EDVSMIGRATING when it is committed.
 */
DVK_API int dvk_migrate_start(dvk_segment* segment, int32_t endpoint, int64_t timeout_ms);
DVK_API int dvk_migrate_commit(dvk_segment* segment, int32_t endpoint, int node);
DVK_API int dvk_migrate_rollback(dvk_segment* segment, int32_t endpoint);

#endif
