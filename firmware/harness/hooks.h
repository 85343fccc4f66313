/* The functions a model built with -DVMCU_HOOKS or -DVMCU_TAGS calls. */
#ifndef VMCU_HOOKS_H
#define VMCU_HOOKS_H

#include <stdint.h>

void vmcu_task_done(uint32_t step, uint32_t row, const int8_t *out, uint32_t bytes);
void vmcu_tag_read(const int8_t *p, uint32_t bytes, uint32_t tensor, uint32_t row);
void vmcu_tag_write(const int8_t *p, uint32_t bytes, uint32_t tensor, uint32_t row);

/* For the harness. */
void vmcu_hooks_start(void); /* before the first inference */
void vmcu_hooks_stop(void);  /* after it: writes what was collected */
int vmcu_tags_start(void *pool);

#endif
