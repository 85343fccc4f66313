/* No line at all: two buffers in RAM that a debugger reads and writes while the core runs, laid out as SEGGER's RTT, so that
 * pyOCD, OpenOCD and J-Link find and serve them (SEGGER UM08001, chapter RTT: control block).
 *
 * Each position is written by one side only, so nothing has to be locked. */
#include "console.h"

#define UP_BYTES 512U   /* to the host: READY fits while nobody looks */
#define DOWN_BYTES 128U
#define BLOCK_BYTES 1024U /* aligned to and at least as large as all of it, for one region of the MPU */
#define REG(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define CLIDR REG(0xE000ED78U)
#define MPU_TYPE REG(0xE000ED90U)
#define MPU_CTRL REG(0xE000ED94U)
#define MPU_RNR REG(0xE000ED98U)
#define MPU_RBAR REG(0xE000ED9CU)
#define MPU_RASR REG(0xE000EDA0U)  /* Armv7-M */
#define MPU_RLAR REG(0xE000EDA0U)  /* Armv8-M */
#define MPU_MAIR0 REG(0xE000EDC0U) /* Armv8-M */
#define BARRIER() __asm volatile("dmb" ::: "memory")

struct channel {
    const char *name;
    uint8_t *bytes;
    uint32_t size;
    volatile uint32_t write; /* next byte to be written */
    volatile uint32_t read;  /* next byte to be read; equal: empty */
    uint32_t flags;          /* 2: wait where there is no room */
};

/* Not static: a compiler drops what only others read. */
struct block {
    char id[16];
    uint32_t ups;
    uint32_t downs;
    struct channel up;
    struct channel down;
    uint8_t up_bytes[UP_BYTES];
    uint8_t down_bytes[DOWN_BYTES];
};

extern struct block vmcu_rtt;
struct block vmcu_rtt __attribute__((aligned(BLOCK_BYTES)));

typedef char vmcu_rtt_fits[sizeof vmcu_rtt <= BLOCK_BYTES ? 1 : -1];

static int nobody_reads;

/* A data cache would keep the positions from the debugger: an MPU region that is not cached, the default map for all else
 * (Armv7-M ARM, B3.5; Armv8-M ARM, PMSAv8). On Armv8-M also where no cache shows itself: it does no
 * harm there, and an emulator, which hides the cache, runs this. */
static void leave_uncached(void)
{
#if defined(__ARM_ARCH_7EM__) || defined(__ARM_ARCH_7M__)
    if ((CLIDR & 6U) != 0U) { /* there is one */
        MPU_RNR = 1U;         /* the guard has region 0 */
        MPU_RBAR = (uint32_t)(uintptr_t)&vmcu_rtt;
        /* Never executed, full access, normal memory, shareable, not cached, 2^(9 + 1) bytes, on. */
        MPU_RASR = 1U << 28 | 3U << 24 | 1U << 19 | 1U << 18 | 9U << 1 | 1U;
        MPU_CTRL = 1U << 2 | 1U;
        __asm volatile("dsb\n\tisb" ::: "memory");
    }
#elif defined(__ARM_ARCH_8M_MAIN__) || defined(__ARM_ARCH_8_1M_MAIN__)
    if ((MPU_TYPE >> 8 & 0xFFU) != 0U) {
        MPU_MAIR0 = 0x44U; /* attribute 0: normal memory, not cached */
        MPU_RNR = 0U;
        MPU_RBAR = (uint32_t)(uintptr_t)&vmcu_rtt | 3U << 3 | 1U << 1 | 1U; /* shareable, full access, never executed */
        MPU_RLAR = ((uint32_t)(uintptr_t)&vmcu_rtt + BLOCK_BYTES - 32U) | 1U; /* its last 32 bytes, attribute 0, on */
        MPU_CTRL = 1U << 2 | 1U;
        __asm volatile("dsb\n\tisb" ::: "memory");
    }
#endif
}

void vmcu_console_start(void)
{
    static const char names[2][9] = {"SEGGER", "RTT"}; /* apart, so that flash does not hold what is looked for in RAM */
    uint32_t i;
    leave_uncached();
    vmcu_rtt.ups = 1U;
    vmcu_rtt.downs = 1U;
    vmcu_rtt.up.name = "vmcu";
    vmcu_rtt.up.bytes = vmcu_rtt.up_bytes;
    vmcu_rtt.up.size = UP_BYTES;
    vmcu_rtt.up.flags = 2U;
    vmcu_rtt.down.name = "vmcu";
    vmcu_rtt.down.bytes = vmcu_rtt.down_bytes;
    vmcu_rtt.down.size = DOWN_BYTES;
    vmcu_rtt.down.flags = 2U;
    BARRIER(); /* the name last: who finds it finds the rest */
    for (i = 0U; i < 3U; i++) {
        vmcu_rtt.id[7U + i] = names[1][i];
    }
    vmcu_rtt.id[6] = ' ';
    for (i = 0U; i < 6U; i++) {
        vmcu_rtt.id[i] = names[0][i];
    }
    BARRIER();
}

int vmcu_console_get(void)
{
    uint32_t at = vmcu_rtt.down.read;
    int byte;
    if (at == vmcu_rtt.down.write) {
        return -1;
    }
    BARRIER();
    byte = vmcu_rtt.down_bytes[at % DOWN_BYTES];
    BARRIER();
    vmcu_rtt.down.read = (at + 1U) % DOWN_BYTES;
    return byte;
}

/* Where nobody has read for a long time, bytes are dropped at once until somebody does. */
void vmcu_console_put(uint8_t byte)
{
    uint32_t at = vmcu_rtt.up.write, next = (at + 1U) % UP_BYTES;
    uint32_t polls = nobody_reads != 0 ? 1U : VMCU_CONSOLE_PATIENCE;
    while (next == vmcu_rtt.up.read && --polls > 0U) {
    }
    nobody_reads = next == vmcu_rtt.up.read;
    if (nobody_reads == 0) {
        vmcu_rtt.up_bytes[at] = byte;
        BARRIER();
        vmcu_rtt.up.write = next;
    }
}
