/* Frames of the serial link: SPEC.md section 10 has every byte. No dependencies, also built for the host and fuzzed there.
 *
 * A frame is a header of 12 bytes, a payload, and a CRC-32 of all but the two bytes of the magic. */
#ifndef VMCU_FRAME_H
#define VMCU_FRAME_H

#include <stdint.h>

#define VMCU_FRAME_MAGIC_0 0x56U
#define VMCU_FRAME_MAGIC_1 0xC3U
#define VMCU_FRAME_VERSION 1U
#define VMCU_FRAME_HEADER_BYTES 12U
#define VMCU_FRAME_CRC_BYTES 4U
#define VMCU_FRAME_PAYLOAD_MAX 512U
#define VMCU_FRAME_MAX (VMCU_FRAME_HEADER_BYTES + VMCU_FRAME_PAYLOAD_MAX + VMCU_FRAME_CRC_BYTES)

/* What a receiver has got; those from VMCU_FRAME_BAD_CRC on are also payload of a GARBLED frame. */
#define VMCU_FRAME_MORE 0  /* nothing whole yet */
#define VMCU_FRAME_WHOLE 1 /* a frame with a right CRC */
#define VMCU_FRAME_BAD_CRC 2
#define VMCU_FRAME_BAD_LENGTH 3
#define VMCU_FRAME_BAD_VERSION 4
#define VMCU_FRAME_BROKEN_OFF 5

/* Bytes of one frame as they come in; `frame` is meaningful after VMCU_FRAME_WHOLE, until the next call. */
struct vmcu_receiver {
    uint8_t bytes[VMCU_FRAME_MAX];
    uint32_t have;
    uint32_t taken; /* length of the whole frame that the caller has seen */
    uint32_t garbled;
    struct {
        uint8_t command;
        uint16_t sequence;
        uint16_t bytes; /* of the payload */
        uint32_t session;
        uint32_t crc;
        const uint8_t *payload;
    } frame;
};

uint32_t vmcu_crc32(uint32_t crc, const uint8_t *bytes, uint32_t count);

/* Takes one byte. Call vmcu_frame_next until it returns VMCU_FRAME_MORE before the next one. */
void vmcu_frame_push(struct vmcu_receiver *r, uint8_t byte);
int vmcu_frame_next(struct vmcu_receiver *r);
/* The rest of a frame does not come: VMCU_FRAME_BROKEN_OFF if there was the beginning of one, which is then forgotten. */
int vmcu_frame_give_up(struct vmcu_receiver *r);

/* Completes a frame whose payload already stands behind VMCU_FRAME_HEADER_BYTES; returns its length. */
uint32_t vmcu_frame_seal(uint8_t *bytes, uint8_t command, uint16_t sequence, uint32_t session, uint32_t payload_bytes);

static inline uint32_t vmcu_get16(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static inline uint32_t vmcu_get32(const uint8_t *p)
{
    return vmcu_get16(p) | vmcu_get16(p + 2) << 16;
}

static inline void vmcu_set16(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

static inline void vmcu_set32(uint8_t *p, uint32_t value)
{
    vmcu_set16(p, value);
    vmcu_set16(p + 2, value >> 16);
}

#endif
