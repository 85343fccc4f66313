/* What each command does. A request either is answered whole or changes nothing. */
#include <string.h>

#include "board.h"
#include "frame.h"
#include "hooks.h"
#include "pool.h"
#include "reply.h"
#include "rows.h"
#include "server.h"
#include "vmcu_app.h"
#include "vmcu_board.h"

struct port_range {
    uint32_t offset_bytes;
    uint32_t size_bytes;
    uint32_t row_bytes; /* of a streamed input or output; 0: it lies in the pool */
};

static const struct port_range inputs[] = VMCU_APP_INPUTS;
static const struct port_range outputs[] = VMCU_APP_OUTPUTS;

static uint32_t filled[VMCU_APP_INPUT_COUNT + 1U]; /* bytes of each input written since the last run */
static int has_outputs;

static void answer_info(void)
{
    static const uint8_t model[] = VMCU_BOARD_MODEL, build[] = VMCU_BOARD_BUILD;
    vmcu_begin(VMCU_STATUS_OK, 0U, 0U);
    vmcu_add16(VMCU_FRAME_PAYLOAD_MAX);
    vmcu_add8(VMCU_APP_INPUT_COUNT);
    vmcu_add8(VMCU_APP_OUTPUT_COUNT);
    vmcu_add32(VMCU_APP_POOL_BYTES);
    vmcu_add32(VMCU_APP_POOL_ALIGN);
    vmcu_add32(VMCU_BOARD_STATE_BYTES);
    vmcu_add32(VMCU_APP_STEP_COUNT);
    vmcu_add32(VMCU_BOARD_CLOCK_HZ);
    vmcu_add32(vmcu_counter_hz());
    vmcu_add8(vmcu_counter_kind());
    vmcu_add8(vmcu_guard_kind());
    vmcu_add8(vmcu_hooks_flag() |
#ifdef VMCU_APP_RUN_ROWS
         VMCU_FLAG_STREAMS
#else
         0U
#endif
    );
    vmcu_add8(vmcu_board_start_failed());
    vmcu_add64(vmcu_board_empty_ticks());
    vmcu_add64(vmcu_board_loop_ticks());
    vmcu_add(model, 32U);
    vmcu_add(build, 32U);
    vmcu_add_text(VMCU_BOARD_PROJECT);
    vmcu_add_text(VMCU_BOARD_NAME);
    vmcu_add_text(VMCU_BOARD_COMPILER);
}

static void answer_port(const uint8_t *payload, uint32_t bytes)
{
    const struct port_range *port;
    if (bytes != 2U) {
        vmcu_refuse(VMCU_STATUS_BAD_PAYLOAD);
        return;
    }
    if (payload[0] > 1U || payload[1] >= (payload[0] == 0U ? VMCU_APP_INPUT_COUNT : VMCU_APP_OUTPUT_COUNT)) {
        vmcu_refuse(VMCU_STATUS_BAD_PORT);
        return;
    }
    port = payload[0] == 0U ? &inputs[payload[1]] : &outputs[payload[1]];
    vmcu_begin(VMCU_STATUS_OK, 0U, 0U);
    vmcu_add32(port->offset_bytes);
    vmcu_add32(port->size_bytes);
    vmcu_add32(port->row_bytes);
}

static void answer_write(const uint8_t *payload, uint32_t bytes)
{
    uint32_t index, offset;
    if (bytes < 8U) {
        vmcu_refuse(VMCU_STATUS_BAD_PAYLOAD);
        return;
    }
    index = payload[0];
    offset = vmcu_get32(payload + 4);
    bytes -= 8U;
    if (index >= VMCU_APP_INPUT_COUNT || inputs[index].row_bytes != 0U) {
        vmcu_refuse(VMCU_STATUS_BAD_PORT);
    } else if (offset > inputs[index].size_bytes || bytes > inputs[index].size_bytes - offset) {
        vmcu_refuse(VMCU_STATUS_OUT_OF_RANGE);
    } else if (offset != 0U && offset != filled[index]) {
        vmcu_refuse(VMCU_STATUS_OUT_OF_ORDER);
    } else {
        has_outputs = 0; /* they may lie where the input goes */
        memcpy(vmcu_pool_byte(vmcu_board_pool(), inputs[index].offset_bytes) + offset, payload + 8, bytes);
        filled[index] = offset + bytes;
        vmcu_begin(VMCU_STATUS_OK, 0U, 0U);
        vmcu_add32(filled[index]);
    }
}

static int has_inputs(void)
{
    uint32_t i;
    for (i = 0U; i < VMCU_APP_INPUT_COUNT; i++) {
        if (inputs[i].row_bytes == 0U && filled[i] != inputs[i].size_bytes) {
            return 0;
        }
    }
    return 1;
}

void vmcu_forget(void)
{
    memset(filled, 0, sizeof filled);
    has_outputs = 0;
}

/* A profile's first lap begins with the model, and not with the painting of the stack. */
static int run_profiled(void *pool)
{
    vmcu_hooks_start();
    return VMCU_APP_RUN(pool);
}

static void answer_run(const uint8_t *payload, uint32_t bytes)
{
    struct vmcu_board_cost cost;
    uint32_t broken, is_profile = 0U;
    int status;
    if (bytes > 1U) {
        vmcu_refuse(VMCU_STATUS_BAD_PAYLOAD);
        return;
    }
    if (bytes == 1U) {
        is_profile = payload[0] & VMCU_RUN_PROFILE;
    }
    if (is_profile != 0U && vmcu_hooks_flag() == 0U) {
        vmcu_refuse(VMCU_STATUS_NO_PROFILE);
        return;
    }
    if (!has_inputs()) {
        vmcu_refuse(VMCU_STATUS_INPUTS_MISSING);
        return;
    }
    vmcu_accept();
    vmcu_forget();
    vmcu_hooks_begin(is_profile);
    status = vmcu_board_measure(is_profile != 0U ? run_profiled : VMCU_APP_RUN, vmcu_board_pool(), &cost, is_profile == 0U);
    vmcu_hooks_end();
    broken = vmcu_canaries_broken();
    if (broken != 0U) {
        vmcu_begin(VMCU_STATUS_POOL_BROKEN, (uint32_t)status & 0xFFU, broken);
        vmcu_canaries_set();
    } else if (status != 0) {
        vmcu_begin(VMCU_ROWS_GAVE_UP(status) ? VMCU_STATUS_ROWS_FAILED : VMCU_STATUS_MODEL_FAILED, (uint32_t)status & 0xFFU, 0U);
    } else {
        has_outputs = 1;
        vmcu_begin(VMCU_STATUS_OK, 0U, 0U);
    }
    vmcu_add64(cost.ticks);
    vmcu_add32(cost.stack_bytes);
    vmcu_add32(vmcu_task_count);
}

/* `count` bytes from `offset` on of an output of `size` bytes. */
static void answer_bytes(const uint8_t *from, uint32_t size, uint32_t offset, uint32_t count)
{
    if (offset > size || count > size - offset || count > VMCU_FRAME_PAYLOAD_MAX - 4U) {
        vmcu_refuse(VMCU_STATUS_OUT_OF_RANGE);
    } else {
        vmcu_begin(VMCU_STATUS_OK, 0U, 0U);
        vmcu_add(from + offset, count);
    }
}

/* The only range that may have bytes on both sides of a split. */
static void answer_peek(uint32_t offset, uint32_t count)
{
    uint32_t i;
    if (offset > VMCU_APP_POOL_BYTES || count > VMCU_APP_POOL_BYTES - offset || count > VMCU_FRAME_PAYLOAD_MAX - 4U) {
        vmcu_refuse(VMCU_STATUS_OUT_OF_RANGE);
        return;
    }
    vmcu_begin(VMCU_STATUS_OK, 0U, 0U);
    for (i = offset; i < offset + count; i++) {
        vmcu_add8(*vmcu_pool_byte(vmcu_board_pool(), i));
    }
}

static void answer_read(const uint8_t *payload, uint32_t bytes)
{
    if (bytes != 10U) {
        vmcu_refuse(VMCU_STATUS_BAD_PAYLOAD);
    } else if (payload[0] >= VMCU_APP_OUTPUT_COUNT || outputs[payload[0]].row_bytes != 0U) {
        vmcu_refuse(VMCU_STATUS_BAD_PORT);
    } else if (has_outputs == 0) {
        vmcu_refuse(VMCU_STATUS_NO_OUTPUTS);
    } else {
        const struct port_range *port = &outputs[payload[0]];
        answer_bytes(vmcu_pool_byte(vmcu_board_pool(), port->offset_bytes), port->size_bytes, vmcu_get32(payload + 4),
                     vmcu_get16(payload + 8));
    }
}

static void answer_reset(void)
{
    int status = VMCU_APP_RESET(vmcu_board_pool());
    vmcu_forget();
    vmcu_begin(status == 0 ? VMCU_STATUS_OK : VMCU_STATUS_MODEL_FAILED, (uint32_t)status & 0xFFU, 0U);
}

static void answer_profile(const uint8_t *payload, uint32_t bytes)
{
    uint32_t first, count, i;
    if (bytes != 4U) {
        vmcu_refuse(VMCU_STATUS_BAD_PAYLOAD);
        return;
    }
    first = vmcu_get16(payload);
    count = vmcu_get16(payload + 2);
    if (vmcu_hooks_has_profile() == 0) {
        vmcu_refuse(VMCU_STATUS_NO_PROFILE);
    } else if (first > VMCU_APP_STEP_COUNT || count > VMCU_APP_STEP_COUNT - first || count > VMCU_PROFILE_STEPS) {
        vmcu_refuse(VMCU_STATUS_OUT_OF_RANGE);
    } else {
        vmcu_begin(VMCU_STATUS_OK, 0U, 0U);
        vmcu_add64(vmcu_hooks_calibration());
        vmcu_add64(vmcu_hooks_idle());
        vmcu_add32(VMCU_CALIBRATION_LAPS);
        for (i = first; i < first + count; i++) {
            vmcu_add64(vmcu_hooks_ticks(i));
            vmcu_add32(vmcu_hooks_tasks(i));
        }
    }
}

/* Every byte of the pool holds what was written to it: two patterns, and one that tells addresses apart. */
static uint32_t first_bad_byte(void *pool)
{
    uint32_t pass, i;
    for (pass = 0U; pass < 3U; pass++) {
        for (i = 0U; i < VMCU_APP_POOL_BYTES; i++) {
            *(volatile uint8_t *)vmcu_pool_byte(pool, i) = (uint8_t)(pass == 0U ? 0x55U : (pass == 1U ? 0xAAU : (i ^ i >> 8 ^ i >> 16)));
        }
        for (i = 0U; i < VMCU_APP_POOL_BYTES; i++) {
            if (*(volatile uint8_t *)vmcu_pool_byte(pool, i) != (uint8_t)(pass == 0U ? 0x55U : (pass == 1U ? 0xAAU : (i ^ i >> 8 ^ i >> 16)))) {
                return i;
            }
        }
    }
    return UINT32_MAX;
}

static void answer_self_test(const uint8_t *payload, uint32_t bytes)
{
    uint32_t bad = UINT32_MAX, broken;
    if (bytes != 1U) {
        vmcu_refuse(VMCU_STATUS_BAD_PAYLOAD);
        return;
    }
    if ((payload[0] & VMCU_TEST_POOL) != 0U) {
        bad = first_bad_byte(vmcu_board_pool());
        vmcu_forget();
        (void)VMCU_APP_INIT(vmcu_board_pool());
    }
    broken = vmcu_canaries_broken();
    vmcu_begin(VMCU_STATUS_OK, 0U, 0U);
    vmcu_add8(vmcu_counter_kind() != VMCU_COUNTER_NONE && vmcu_board_loop_ticks() > vmcu_board_empty_ticks());
    vmcu_add8(broken);
    vmcu_add8(vmcu_guard_kind());
    vmcu_add8(vmcu_board_start_failed());
    vmcu_add32(bad);
    vmcu_add32(vmcu_board_stack_bytes());
    vmcu_add32(vmcu_garbled());
    vmcu_add32(vmcu_repeats());
}

void vmcu_execute(uint8_t command, const uint8_t *payload, uint32_t bytes)
{
    switch (command) {
    case VMCU_COMMAND_HELLO:
    case VMCU_COMMAND_INFO:
        answer_info();
        break;
    case VMCU_COMMAND_PORT:
        answer_port(payload, bytes);
        break;
    case VMCU_COMMAND_WRITE:
        answer_write(payload, bytes);
        break;
    case VMCU_COMMAND_RUN:
        answer_run(payload, bytes);
        break;
    case VMCU_COMMAND_READ:
        answer_read(payload, bytes);
        break;
    case VMCU_COMMAND_RESET:
        answer_reset();
        break;
    case VMCU_COMMAND_PEEK:
        if (bytes != 6U) {
            vmcu_refuse(VMCU_STATUS_BAD_PAYLOAD);
        } else {
            answer_peek(vmcu_get32(payload), vmcu_get16(payload + 4));
        }
        break;
    case VMCU_COMMAND_PROFILE:
        answer_profile(payload, bytes);
        break;
    case VMCU_COMMAND_SELF_TEST:
        answer_self_test(payload, bytes);
        break;
    default:
        vmcu_refuse(VMCU_STATUS_UNKNOWN);
        break;
    }
}
