/* Replies are built where they are kept: the last one stays, for a request that comes again. */
#include "reply.h"

#include <string.h>

#include "board.h"
#include "frame.h"

static uint8_t reply[VMCU_FRAME_MAX];
static uint32_t reply_bytes, payload_bytes;

void vmcu_send(const uint8_t *bytes, uint32_t count)
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

void vmcu_add(const void *bytes, uint32_t count)
{
    memcpy(reply + VMCU_FRAME_HEADER_BYTES + payload_bytes, bytes, count);
    payload_bytes += count;
}

void vmcu_add8(uint32_t value)
{
    uint8_t byte = (uint8_t)value;
    vmcu_add(&byte, 1U);
}

void vmcu_add16(uint32_t value)
{
    vmcu_add8(value & 0xFFU);
    vmcu_add8(value >> 8 & 0xFFU);
}

void vmcu_add32(uint32_t value)
{
    vmcu_add16(value & 0xFFFFU);
    vmcu_add16(value >> 16);
}

void vmcu_add64(uint64_t value)
{
    vmcu_add32((uint32_t)value);
    vmcu_add32((uint32_t)(value >> 32));
}

void vmcu_add_text(const char *text)
{
    uint32_t length = 0U;
    while (text[length] != '\0' && length < 63U) {
        length++;
    }
    vmcu_add8(length);
    vmcu_add(text, length);
}

void vmcu_begin(uint32_t status, uint32_t detail, uint32_t more)
{
    payload_bytes = 0U;
    vmcu_add8(status);
    vmcu_add8(detail);
    vmcu_add8(more);
    vmcu_add8(0U);
}

void vmcu_refuse(uint32_t status)
{
    vmcu_begin(status, 0U, 0U);
}

void vmcu_reply_send(uint8_t command, uint16_t sequence, uint32_t session)
{
    reply_bytes = vmcu_frame_seal(reply, command, sequence, session, payload_bytes);
    vmcu_reply_again();
}

void vmcu_reply_again(void)
{
    vmcu_send(reply, reply_bytes);
}
