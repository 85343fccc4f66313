/* The inference server's side of the link: one request at a time.
 *
 * A request that comes again (same bytes, so the reply was lost) is answered from memory and not executed again. */
#include "server.h"

#include <string.h>

#include "board.h"
#include "frame.h"
#include "reply.h"
#include "rows.h"
#include "vmcu_app.h"
#include "vmcu_board.h"

static struct vmcu_receiver receiver;
static uint64_t last_byte; /* when it came */
static int is_pending;     /* the receiver holds a request that a run was given up for */

static int has_reply; /* to this request: */
static uint32_t reply_to_crc;
static uint16_t reply_to_sequence;
static uint32_t session, repeats;

/* A frame of a few bytes that leaves the remembered reply alone. */
static void send_short(uint8_t command, uint16_t sequence, uint32_t status)
{
    uint8_t frame[VMCU_FRAME_HEADER_BYTES + 4U + VMCU_FRAME_CRC_BYTES];
    memset(frame, 0, sizeof frame);
    frame[VMCU_FRAME_HEADER_BYTES] = (uint8_t)status;
    vmcu_send(frame, vmcu_frame_seal(frame, command, sequence, session, 4U));
}

void vmcu_accept(void)
{
    send_short(VMCU_COMMAND_RUN | VMCU_REPLY, reply_to_sequence, VMCU_STATUS_ACCEPTED);
}

uint32_t vmcu_garbled(void)
{
    return receiver.garbled;
}

uint32_t vmcu_repeats(void)
{
    return repeats;
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
        vmcu_send(exchange, length);
        found = is_output != 0U ? wait_for(VMCU_COMMAND_TAKEN, data, 0U) : wait_for(VMCU_COMMAND_ROWS, data, bytes);
        if (found != 1) {
            return found;
        }
    }
    return 1;
}
#endif

static void handle(void)
{
    uint8_t command = receiver.frame.command;
    if ((command & VMCU_REPLY) != 0U || command == VMCU_COMMAND_ROWS || command == VMCU_COMMAND_TAKEN) {
        return; /* an echo of the line, or an answer that came too late */
    }
    if (command == VMCU_COMMAND_HELLO && receiver.frame.session != session) {
        session = receiver.frame.session;
        has_reply = 0;
        vmcu_forget();
    }
    if (receiver.frame.session != session || session == 0U) {
        send_short(command | VMCU_REPLY, receiver.frame.sequence, VMCU_STATUS_NO_SESSION);
        return;
    }
    if (has_reply != 0 && receiver.frame.sequence == reply_to_sequence && receiver.frame.crc == reply_to_crc) {
        repeats++;
        vmcu_reply_again();
        return;
    }
    reply_to_sequence = receiver.frame.sequence;
    reply_to_crc = receiver.frame.crc;
    has_reply = 0;
    vmcu_execute(command, receiver.frame.payload, receiver.frame.bytes);
    has_reply = 1;
    vmcu_reply_send(command | VMCU_REPLY, reply_to_sequence, session);
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
