/* The inference server: one request at a time, each of which either is answered whole or changes nothing.
 *
 * A request that comes again (same bytes, so the reply was lost) is answered from memory and not executed again. */
#include "server.h"

#include <string.h>

#include "board.h"
#include "frame.h"
#include "hooks.h"
#include "rows.h"
#include "vmcu_app.h"
#include "vmcu_board.h"

struct port_range {
    uint32_t offset_bytes;
    uint32_t size_bytes;
    uint32_t row_bytes; /* of a streamed input or output; 0: it lies in the pool */
};

static const struct port_range inputs[] = VMCU_APP_INPUTS;
static const struct port_range outputs[] = VMCU_APP_OUTPUTS;

static struct vmcu_receiver receiver;
static uint64_t last_byte; /* when it came */
static int is_pending;     /* the receiver holds a request that a run was given up for */

static uint8_t reply[VMCU_FRAME_MAX]; /* the last one, for a request that comes again */
static uint32_t reply_bytes, reply_to_crc, payload_bytes;
static uint16_t reply_to_sequence;
static uint32_t session, repeats;

static uint32_t filled[VMCU_APP_INPUT_COUNT + 1U]; /* bytes of each input written since the last run */
static int has_outputs;

/* ---- sending ---- */

static void send(const uint8_t *bytes, uint32_t count)
{
    uint32_t i;
    for (i = 0U; i < count; i++) {
        vmcu_console_put(bytes[i]);
    }
}

void vmcu_text(const char *text)
{
    for (; *text != '\0'; text++) {
        vmcu_console_put((uint8_t)*text);
    }
}

static void add(const void *bytes, uint32_t count)
{
    memcpy(reply + VMCU_FRAME_HEADER_BYTES + payload_bytes, bytes, count);
    payload_bytes += count;
}

static void add8(uint32_t value)
{
    uint8_t byte = (uint8_t)value;
    add(&byte, 1U);
}

static void add16(uint32_t value)
{
    add8(value & 0xFFU);
    add8(value >> 8 & 0xFFU);
}

static void add32(uint32_t value)
{
    add16(value & 0xFFFFU);
    add16(value >> 16);
}

static void add64(uint64_t value)
{
    add32((uint32_t)value);
    add32((uint32_t)(value >> 32));
}

static void add_text(const char *text)
{
    uint32_t length = 0U;
    while (text[length] != '\0' && length < 63U) {
        length++;
    }
    add8(length);
    add(text, length);
}

static void begin(uint32_t status, uint32_t detail, uint32_t more)
{
    payload_bytes = 0U;
    add8(status);
    add8(detail);
    add8(more);
    add8(0U);
}

static void refuse(uint32_t status)
{
    begin(status, 0U, 0U);
}

/* A frame of a few bytes that leaves the remembered reply alone. */
static void send_short(uint8_t command, uint16_t sequence, uint32_t status)
{
    uint8_t frame[VMCU_FRAME_HEADER_BYTES + 4U + VMCU_FRAME_CRC_BYTES];
    memset(frame, 0, sizeof frame);
    frame[VMCU_FRAME_HEADER_BYTES] = (uint8_t)status;
    send(frame, vmcu_frame_seal(frame, command, sequence, session, 4U));
}

/* ---- receiving ---- */

/* One step of the receiver; bounded, also while bytes keep coming. */
static int receive(void)
{
    uint32_t limit = VMCU_FRAME_MAX;
    int found = vmcu_frame_next(&receiver), byte;
    while (found == VMCU_FRAME_MORE && limit-- > 0U && (byte = vmcu_console_get()) >= 0) {
        vmcu_frame_push(&receiver, (uint8_t)byte);
        found = vmcu_frame_next(&receiver);
        last_byte = vmcu_counter_now();
    }
    if (found == VMCU_FRAME_MORE && receiver.have > 0U &&
        vmcu_counter_now() - last_byte > (uint64_t)VMCU_BYTE_LIMIT_MS * (vmcu_counter_hz() / 1000U)) {
        found = vmcu_frame_give_up(&receiver);
    }
    if (found >= VMCU_FRAME_BAD_CRC) {
        send_short(VMCU_COMMAND_GARBLED | VMCU_REPLY, 0U, (uint32_t)found);
    }
    return found;
}

/* ---- rows of streamed inputs and outputs ---- */

#ifdef VMCU_APP_RUN_ROWS
static uint8_t exchange[VMCU_FRAME_MAX];
static uint16_t exchange_number;

static int is_repeated(void)
{
    return receiver.frame.sequence == reply_to_sequence && receiver.frame.crc == reply_to_crc;
}

/* Waits for the answer to an exchange; 0: it came, 1: ask again, 2: the run is to be given up. */
static int wait_for(uint8_t answer, uint8_t *to, uint32_t bytes)
{
    uint64_t from = vmcu_counter_now(), limit = (uint64_t)VMCU_ROWS_LIMIT_MS * (vmcu_counter_hz() / 1000U);
    while (vmcu_counter_now() - from <= limit) {
        if (receive() != VMCU_FRAME_WHOLE) {
            continue;
        }
        if (receiver.frame.session == session && receiver.frame.command == answer) {
            if (receiver.frame.bytes == bytes + 2U && vmcu_get16(receiver.frame.payload) == exchange_number) {
                memcpy(to, receiver.frame.payload + 2, bytes);
                return 0;
            }
        } else if (receiver.frame.session == session && is_repeated()) {
            return 1; /* the host has not heard that the run is on */
        } else if (receiver.frame.command == VMCU_COMMAND_HELLO) {
            is_pending = 1;
            return 2;
        }
    }
    return 1;
}

int vmcu_rows_exchange(uint32_t is_output, uint32_t port, uint32_t offset_bytes, uint8_t *data, uint32_t bytes)
{
    uint8_t *payload = exchange + VMCU_FRAME_HEADER_BYTES;
    uint32_t tries, length;
    exchange_number++;
    vmcu_set16(payload, exchange_number);
    payload[2] = (uint8_t)is_output;
    payload[3] = (uint8_t)port;
    vmcu_set32(payload + 4, offset_bytes);
    vmcu_set16(payload + 8, bytes);
    if (is_output != 0U) {
        memcpy(payload + VMCU_ROWS_HEAD_BYTES, data, bytes);
    }
    length = vmcu_frame_seal(exchange, is_output != 0U ? VMCU_COMMAND_GIVE : VMCU_COMMAND_NEED, reply_to_sequence, session,
                             VMCU_ROWS_HEAD_BYTES + (is_output != 0U ? bytes : 0U));
    for (tries = 0U; tries < VMCU_ROWS_TRIES; tries++) {
        int found;
        send(exchange, length);
        found = is_output != 0U ? wait_for(VMCU_COMMAND_TAKEN, data, 0U) : wait_for(VMCU_COMMAND_ROWS, data, bytes);
        if (found != 1) {
            return found;
        }
    }
    return 1;
}
#endif

/* ---- commands ---- */

static void answer_info(void)
{
    static const uint8_t model[] = VMCU_BOARD_MODEL, build[] = VMCU_BOARD_BUILD;
    begin(VMCU_STATUS_OK, 0U, 0U);
    add16(VMCU_FRAME_PAYLOAD_MAX);
    add8(VMCU_APP_INPUT_COUNT);
    add8(VMCU_APP_OUTPUT_COUNT);
    add32(VMCU_APP_POOL_BYTES);
    add32(VMCU_APP_POOL_ALIGN);
    add32(VMCU_BOARD_STATE_BYTES);
    add32(VMCU_APP_STEP_COUNT);
    add32(VMCU_BOARD_CLOCK_HZ);
    add32(vmcu_counter_hz());
    add8(vmcu_counter_kind());
    add8(vmcu_guard_kind());
    add8(vmcu_hooks_flag() |
#ifdef VMCU_APP_RUN_ROWS
         VMCU_FLAG_STREAMS
#else
         0U
#endif
    );
    add8(vmcu_board_start_failed());
    add64(vmcu_board_empty_ticks());
    add64(vmcu_board_loop_ticks());
    add(model, 32U);
    add(build, 32U);
    add_text(VMCU_BOARD_PROJECT);
    add_text(VMCU_BOARD_NAME);
    add_text(VMCU_BOARD_COMPILER);
}

static void answer_port(const uint8_t *payload, uint32_t bytes)
{
    const struct port_range *port;
    if (bytes != 2U) {
        refuse(VMCU_STATUS_BAD_PAYLOAD);
        return;
    }
    if (payload[0] > 1U || payload[1] >= (payload[0] == 0U ? VMCU_APP_INPUT_COUNT : VMCU_APP_OUTPUT_COUNT)) {
        refuse(VMCU_STATUS_BAD_PORT);
        return;
    }
    port = payload[0] == 0U ? &inputs[payload[1]] : &outputs[payload[1]];
    begin(VMCU_STATUS_OK, 0U, 0U);
    add32(port->offset_bytes);
    add32(port->size_bytes);
    add32(port->row_bytes);
}

static void answer_write(const uint8_t *payload, uint32_t bytes)
{
    uint32_t index, offset;
    if (bytes < 8U) {
        refuse(VMCU_STATUS_BAD_PAYLOAD);
        return;
    }
    index = payload[0];
    offset = vmcu_get32(payload + 4);
    bytes -= 8U;
    if (index >= VMCU_APP_INPUT_COUNT || inputs[index].row_bytes != 0U) {
        refuse(VMCU_STATUS_BAD_PORT);
    } else if (offset > inputs[index].size_bytes || bytes > inputs[index].size_bytes - offset) {
        refuse(VMCU_STATUS_OUT_OF_RANGE);
    } else if (offset != 0U && offset != filled[index]) {
        refuse(VMCU_STATUS_OUT_OF_ORDER);
    } else {
        has_outputs = 0; /* they may lie where the input goes */
        memcpy(vmcu_board_pool() + inputs[index].offset_bytes + offset, payload + 8, bytes);
        filled[index] = offset + bytes;
        begin(VMCU_STATUS_OK, 0U, 0U);
        add32(filled[index]);
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

static void forget(void)
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
        refuse(VMCU_STATUS_BAD_PAYLOAD);
        return;
    }
    if (bytes == 1U) {
        is_profile = payload[0] & VMCU_RUN_PROFILE;
    }
    if (is_profile != 0U && vmcu_hooks_flag() == 0U) {
        refuse(VMCU_STATUS_NO_PROFILE);
        return;
    }
    if (!has_inputs()) {
        refuse(VMCU_STATUS_INPUTS_MISSING);
        return;
    }
    send_short(VMCU_COMMAND_RUN | VMCU_REPLY, reply_to_sequence, VMCU_STATUS_ACCEPTED);
    forget();
    vmcu_hooks_begin(is_profile);
    status = vmcu_board_measure(is_profile != 0U ? run_profiled : VMCU_APP_RUN, vmcu_board_pool(), &cost);
    vmcu_hooks_end();
    broken = vmcu_canaries_broken();
    if (broken != 0U) {
        begin(VMCU_STATUS_POOL_BROKEN, (uint32_t)status & 0xFFU, broken);
        vmcu_canaries_set();
    } else if (status != 0) {
        begin(VMCU_ROWS_GAVE_UP(status) ? VMCU_STATUS_ROWS_FAILED : VMCU_STATUS_MODEL_FAILED, (uint32_t)status & 0xFFU, 0U);
    } else {
        has_outputs = 1;
        begin(VMCU_STATUS_OK, 0U, 0U);
    }
    add64(cost.ticks);
    add32(cost.stack_bytes);
    add32(vmcu_task_count);
}

/* `count` bytes from `offset` on of something of `size` bytes, as READ and PEEK ask for them. */
static void answer_bytes(const uint8_t *from, uint32_t size, uint32_t offset, uint32_t count)
{
    if (offset > size || count > size - offset || count > VMCU_FRAME_PAYLOAD_MAX - 4U) {
        refuse(VMCU_STATUS_OUT_OF_RANGE);
    } else {
        begin(VMCU_STATUS_OK, 0U, 0U);
        add(from + offset, count);
    }
}

static void answer_read(const uint8_t *payload, uint32_t bytes)
{
    if (bytes != 10U) {
        refuse(VMCU_STATUS_BAD_PAYLOAD);
    } else if (payload[0] >= VMCU_APP_OUTPUT_COUNT || outputs[payload[0]].row_bytes != 0U) {
        refuse(VMCU_STATUS_BAD_PORT);
    } else if (has_outputs == 0) {
        refuse(VMCU_STATUS_NO_OUTPUTS);
    } else {
        const struct port_range *port = &outputs[payload[0]];
        answer_bytes(vmcu_board_pool() + port->offset_bytes, port->size_bytes, vmcu_get32(payload + 4),
                     vmcu_get16(payload + 8));
    }
}

static void answer_reset(void)
{
    int status = VMCU_APP_RESET(vmcu_board_pool());
    forget();
    begin(status == 0 ? VMCU_STATUS_OK : VMCU_STATUS_MODEL_FAILED, (uint32_t)status & 0xFFU, 0U);
}

static void answer_profile(const uint8_t *payload, uint32_t bytes)
{
    uint32_t first, count, i;
    if (bytes != 4U) {
        refuse(VMCU_STATUS_BAD_PAYLOAD);
        return;
    }
    first = vmcu_get16(payload);
    count = vmcu_get16(payload + 2);
    if (vmcu_hooks_has_profile() == 0) {
        refuse(VMCU_STATUS_NO_PROFILE);
    } else if (first > VMCU_APP_STEP_COUNT || count > VMCU_APP_STEP_COUNT - first || count > VMCU_PROFILE_STEPS) {
        refuse(VMCU_STATUS_OUT_OF_RANGE);
    } else {
        begin(VMCU_STATUS_OK, 0U, 0U);
        add64(vmcu_hooks_calibration());
        add64(vmcu_hooks_idle());
        add32(VMCU_CALIBRATION_LAPS);
        for (i = first; i < first + count; i++) {
            add64(vmcu_hooks_ticks(i));
            add32(vmcu_hooks_tasks(i));
        }
    }
}

/* Every byte of the pool holds what was written to it: two patterns, and one that tells addresses apart. */
static uint32_t first_bad_byte(uint8_t *pool)
{
    uint32_t pass, i;
    for (pass = 0U; pass < 3U; pass++) {
        volatile uint8_t *p = pool;
        for (i = 0U; i < VMCU_APP_POOL_BYTES; i++) {
            p[i] = (uint8_t)(pass == 0U ? 0x55U : (pass == 1U ? 0xAAU : (i ^ i >> 8 ^ i >> 16)));
        }
        for (i = 0U; i < VMCU_APP_POOL_BYTES; i++) {
            if (p[i] != (uint8_t)(pass == 0U ? 0x55U : (pass == 1U ? 0xAAU : (i ^ i >> 8 ^ i >> 16)))) {
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
        refuse(VMCU_STATUS_BAD_PAYLOAD);
        return;
    }
    if ((payload[0] & VMCU_TEST_POOL) != 0U) {
        bad = first_bad_byte(vmcu_board_pool());
        forget();
        (void)VMCU_APP_INIT(vmcu_board_pool());
    }
    broken = vmcu_canaries_broken();
    begin(VMCU_STATUS_OK, 0U, 0U);
    add8(vmcu_counter_kind() != VMCU_COUNTER_NONE && vmcu_board_loop_ticks() > vmcu_board_empty_ticks());
    add8(broken);
    add8(vmcu_guard_kind());
    add8(vmcu_board_start_failed());
    add32(bad);
    add32(vmcu_board_stack_bytes());
    add32(receiver.garbled);
    add32(repeats);
}

static void execute(uint8_t command, const uint8_t *payload, uint32_t bytes)
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
            refuse(VMCU_STATUS_BAD_PAYLOAD);
        } else {
            answer_bytes(vmcu_board_pool(), VMCU_APP_POOL_BYTES, vmcu_get32(payload), vmcu_get16(payload + 4));
        }
        break;
    case VMCU_COMMAND_PROFILE:
        answer_profile(payload, bytes);
        break;
    case VMCU_COMMAND_SELF_TEST:
        answer_self_test(payload, bytes);
        break;
    default:
        refuse(VMCU_STATUS_UNKNOWN);
        break;
    }
}

static void handle(void)
{
    uint8_t command = receiver.frame.command;
    if ((command & VMCU_REPLY) != 0U || command == VMCU_COMMAND_ROWS || command == VMCU_COMMAND_TAKEN) {
        return; /* an echo of the line, or an answer that came too late */
    }
    if (command == VMCU_COMMAND_HELLO && receiver.frame.session != session) {
        session = receiver.frame.session;
        reply_bytes = 0U;
        forget();
    }
    if (receiver.frame.session != session || session == 0U) {
        send_short(command | VMCU_REPLY, receiver.frame.sequence, VMCU_STATUS_NO_SESSION);
        return;
    }
    if (reply_bytes > 0U && receiver.frame.sequence == reply_to_sequence && receiver.frame.crc == reply_to_crc) {
        repeats++;
        send(reply, reply_bytes);
        return;
    }
    reply_to_sequence = receiver.frame.sequence;
    reply_to_crc = receiver.frame.crc;
    reply_bytes = 0U;
    execute(command, receiver.frame.payload, receiver.frame.bytes);
    reply_bytes = vmcu_frame_seal(reply, command | VMCU_REPLY, reply_to_sequence, session, payload_bytes);
    send(reply, reply_bytes);
}

static void text_hex(const uint8_t *bytes, uint32_t count)
{
    static const char digits[] = "0123456789abcdef";
    uint32_t i;
    for (i = 0U; i < count; i++) {
        vmcu_console_put((uint8_t)digits[bytes[i] >> 4]);
        vmcu_console_put((uint8_t)digits[bytes[i] & 15U]);
    }
}

void vmcu_server_start(void)
{
    static const uint8_t model[] = VMCU_BOARD_MODEL;
    vmcu_canaries_set();
    (void)VMCU_APP_INIT(vmcu_board_pool());
    vmcu_text("\nVMCU READY 1 " VMCU_BOARD_PROJECT " ");
    text_hex(model, 32U);
    vmcu_text(" " VMCU_BOARD_NAME "\n");
}

void vmcu_server_poll(void)
{
    if (is_pending != 0) {
        is_pending = 0;
        handle();
    } else if (receive() == VMCU_FRAME_WHOLE) {
        handle();
    }
}
