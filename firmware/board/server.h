/* Commands, statuses and limits of the protocol; vmcu/board/protocol.py has the same numbers, and a test compares them. */
#ifndef VMCU_SERVER_H
#define VMCU_SERVER_H

/* Requests of the host. The reply has the same number with the top bit set. */
#define VMCU_COMMAND_HELLO 0x01U
#define VMCU_COMMAND_INFO 0x02U
#define VMCU_COMMAND_PORT 0x03U
#define VMCU_COMMAND_WRITE 0x04U
#define VMCU_COMMAND_RUN 0x05U
#define VMCU_COMMAND_READ 0x06U
#define VMCU_COMMAND_RESET 0x07U
#define VMCU_COMMAND_PEEK 0x08U
#define VMCU_COMMAND_PROFILE 0x09U
#define VMCU_COMMAND_SELF_TEST 0x0AU
/* Requests of the board, while a run of a model with streamed inputs or outputs is on; and the host's answers. */
#define VMCU_COMMAND_NEED 0x40U
#define VMCU_COMMAND_GIVE 0x41U
#define VMCU_COMMAND_ROWS 0x20U
#define VMCU_COMMAND_TAKEN 0x21U
/* What came was no frame. */
#define VMCU_COMMAND_GARBLED 0x7FU
#define VMCU_REPLY 0x80U

#define VMCU_STATUS_OK 0U
#define VMCU_STATUS_ACCEPTED 1U        /* the run has begun; a second reply follows */
#define VMCU_STATUS_UNKNOWN 2U         /* no such command */
#define VMCU_STATUS_BAD_PAYLOAD 3U     /* payload of a wrong length */
#define VMCU_STATUS_NO_SESSION 4U      /* not the session of the last HELLO: the board has been restarted, or another host came */
#define VMCU_STATUS_BAD_PORT 5U        /* no such input or output, or it is streamed */
#define VMCU_STATUS_OUT_OF_RANGE 6U    /* beyond the end of the port, the pool or the steps */
#define VMCU_STATUS_OUT_OF_ORDER 7U    /* a gap in the bytes of an input */
#define VMCU_STATUS_INPUTS_MISSING 8U  /* an input has not been written whole since the last run */
#define VMCU_STATUS_NO_OUTPUTS 9U      /* no run since the last write */
#define VMCU_STATUS_MODEL_FAILED 10U   /* detail: what the model returned */
#define VMCU_STATUS_ROWS_FAILED 11U    /* the host did not deliver or take rows in time */
#define VMCU_STATUS_NO_PROFILE 12U     /* the firmware has no hooks, or nothing was profiled */
#define VMCU_STATUS_POOL_BROKEN 13U    /* a canary beside the pool is dead */

#define VMCU_FLAG_HOOKS 1U
#define VMCU_FLAG_STREAMS 2U
#define VMCU_RUN_PROFILE 1U /* flag of RUN */
#define VMCU_TEST_POOL 1U   /* flag of SELF_TEST: write patterns to the pool; the states are lost */

#define VMCU_PROFILE_STEPS 32U       /* per PROFILE reply, at most */
#define VMCU_CALIBRATION_LAPS 16U
#define VMCU_BYTE_LIMIT_MS 10000U    /* between two bytes of a frame; a host that asks again ends a frame sooner */
#define VMCU_ROWS_LIMIT_MS 2000U     /* for the answer to NEED and GIVE */
#define VMCU_ROWS_TRIES 5U

#endif
