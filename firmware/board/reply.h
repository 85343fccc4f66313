/* The reply under construction, and everything that is sent. server.c looks after the link, commands.c fills replies. */
#ifndef VMCU_REPLY_H
#define VMCU_REPLY_H

#include <stdint.h>

/* ---- reply.c ---- */
void vmcu_send(const uint8_t *bytes, uint32_t count);
/* Starts a reply's payload; what is added follows. */
void vmcu_begin(uint32_t status, uint32_t detail, uint32_t more);
void vmcu_refuse(uint32_t status);
void vmcu_add(const void *bytes, uint32_t count);
void vmcu_add8(uint32_t value);
void vmcu_add16(uint32_t value);
void vmcu_add32(uint32_t value);
void vmcu_add64(uint64_t value);
void vmcu_add_text(const char *text);
/* Completes the reply and sends it; vmcu_reply_again does so once more. */
void vmcu_reply_send(uint8_t command, uint16_t sequence, uint32_t session);
void vmcu_reply_again(void);

/* ---- server.c ---- */
/* The run that has been asked for begins. */
void vmcu_accept(void);
uint32_t vmcu_garbled(void);
uint32_t vmcu_repeats(void);

/* ---- commands.c ---- */
/* Makes the reply to a request. */
void vmcu_execute(uint8_t command, const uint8_t *payload, uint32_t bytes);
/* Inputs that were begun, and outputs. */
void vmcu_forget(void);

#endif
