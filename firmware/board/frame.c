/* Finds frames in a stream of bytes that may hold anything else, too. */
#include "frame.h"

#include <string.h>

/* CRC-32 of IEEE 802.3 (zlib's), four bits at a time: a table of 64 bytes. Start with 0. */
uint32_t vmcu_crc32(uint32_t crc, const uint8_t *bytes, uint32_t count)
{
    static const uint32_t table[16] = {
        0x00000000U, 0x1db71064U, 0x3b6e20c8U, 0x26d930acU, 0x76dc4190U, 0x6b6b51f4U, 0x4db26158U, 0x5005713cU,
        0xedb88320U, 0xf00f9344U, 0xd6d6a3e8U, 0xcb61b38cU, 0x9b64c2b0U, 0x86d3d2d4U, 0xa00ae278U, 0xbdbdf21cU,
    };
    uint32_t i;
    crc = ~crc;
    for (i = 0U; i < count; i++) {
        crc ^= bytes[i];
        crc = (crc >> 4) ^ table[crc & 15U];
        crc = (crc >> 4) ^ table[crc & 15U];
    }
    return ~crc;
}

static void drop(struct vmcu_receiver *r, uint32_t count)
{
    r->have -= count;
    memmove(r->bytes, r->bytes + count, r->have);
}

/* Drops what cannot be the beginning of a frame. */
static void drop_noise(struct vmcu_receiver *r)
{
    uint32_t i;
    for (i = 0U; i < r->have; i++) {
        if (r->bytes[i] == VMCU_FRAME_MAGIC_0 && (i + 1U == r->have || r->bytes[i + 1U] == VMCU_FRAME_MAGIC_1)) {
            break;
        }
    }
    if (i > 0U) {
        drop(r, i);
    }
}

/* The frame at the front of the buffer, which begins like one. */
static int judge(struct vmcu_receiver *r)
{
    uint32_t bytes, end;
    if (r->have < 3U) {
        return VMCU_FRAME_MORE;
    }
    if (r->bytes[2] != VMCU_FRAME_VERSION) {
        return VMCU_FRAME_BAD_VERSION;
    }
    if (r->have < 8U) {
        return VMCU_FRAME_MORE;
    }
    bytes = vmcu_get16(r->bytes + 6);
    if (bytes > VMCU_FRAME_PAYLOAD_MAX) {
        return VMCU_FRAME_BAD_LENGTH;
    }
    end = VMCU_FRAME_HEADER_BYTES + bytes;
    if (r->have < end + VMCU_FRAME_CRC_BYTES) {
        return VMCU_FRAME_MORE;
    }
    r->frame.crc = vmcu_get32(r->bytes + end);
    if (r->frame.crc != vmcu_crc32(0U, r->bytes + 2, end - 2U)) {
        return VMCU_FRAME_BAD_CRC;
    }
    r->frame.command = r->bytes[3];
    r->frame.sequence = (uint16_t)vmcu_get16(r->bytes + 4);
    r->frame.bytes = (uint16_t)bytes;
    r->frame.session = vmcu_get32(r->bytes + 8);
    r->frame.payload = r->bytes + VMCU_FRAME_HEADER_BYTES;
    r->taken = end + VMCU_FRAME_CRC_BYTES;
    return VMCU_FRAME_WHOLE;
}

void vmcu_frame_push(struct vmcu_receiver *r, uint8_t byte)
{
    if (r->have < VMCU_FRAME_MAX) { /* always, if the caller keeps to the order of calls */
        r->bytes[r->have++] = byte;
    }
}

int vmcu_frame_next(struct vmcu_receiver *r)
{
    int found;
    if (r->taken > 0U) {
        drop(r, r->taken);
        r->taken = 0U;
    }
    drop_noise(r);
    found = judge(r);
    if (found >= VMCU_FRAME_BAD_CRC) {
        drop(r, 1U); /* what follows may hold a frame: its magic is looked for from the second byte on */
        r->garbled++;
    }
    return found;
}

int vmcu_frame_give_up(struct vmcu_receiver *r)
{
    if (r->have == 0U || r->taken > 0U) {
        return VMCU_FRAME_MORE;
    }
    drop(r, 1U);
    r->garbled++;
    return VMCU_FRAME_BROKEN_OFF;
}

uint32_t vmcu_frame_seal(uint8_t *bytes, uint8_t command, uint16_t sequence, uint32_t session, uint32_t payload_bytes)
{
    uint32_t end = VMCU_FRAME_HEADER_BYTES + payload_bytes;
    bytes[0] = VMCU_FRAME_MAGIC_0;
    bytes[1] = VMCU_FRAME_MAGIC_1;
    bytes[2] = VMCU_FRAME_VERSION;
    bytes[3] = command;
    vmcu_set16(bytes + 4, sequence);
    vmcu_set16(bytes + 6, payload_bytes);
    vmcu_set32(bytes + 8, session);
    vmcu_set32(bytes + end, vmcu_crc32(0U, bytes + 2, end - 2U));
    return end + VMCU_FRAME_CRC_BYTES;
}
