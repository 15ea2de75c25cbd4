/*
 * Stands for QEMU: "runs" the blocks that standard input names, with counter.c linked in.
 *
 *     emulated marks=FILE out=FILE < PROGRAM
 *
 * A program has lines `run ADDRESS` (a block of two instructions, translated when it first
 * runs), `link ADDRESS` (the link register), `third VALUE` (the third argument), `call NUMBER FILE VALUE COMMAND` (a system call).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu-plugin.h"

#define INSTRUCTIONS 2

struct qemu_plugin_insn {
    uint32_t word;
};
struct qemu_plugin_tb {
    uint64_t address;
    execution_callback call;
    enum qemu_plugin_cb_flags flags;
    void *given;
    uint64_t *counter;
    struct qemu_plugin_insn instruction;
};

static processor_callback on_processor;
static translation_callback on_translation;
static system_call_callback on_system_call;
static uint64_t link_value, third_value;
static enum qemu_plugin_cb_flags readable;

struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t size)
{
    return calloc(1, size);
}

void *qemu_plugin_scoreboard_find(struct qemu_plugin_scoreboard *score, unsigned int cpu)
{
    return cpu == 0 ? score : NULL;
}

GArray *qemu_plugin_get_registers(void)
{
    GArray *known = g_array_new(false, true, sizeof(qemu_plugin_reg_descriptor));
    qemu_plugin_reg_descriptor registers[] = {{(void *)&on_processor, "x0", NULL},
                                              {(void *)&third_value, "x2", NULL},
                                              {(void *)&link_value, "x30", NULL}};
    return g_array_append_vals(known, registers, 3);
}

int qemu_plugin_read_register(struct qemu_plugin_register *handle, GByteArray *buffer)
{
    bool known = (void *)handle == (void *)&link_value || (void *)handle == (void *)&third_value;
    if (readable != QEMU_PLUGIN_CB_R_REGS || !known)
        return -1;
    g_byte_array_append(buffer, (uint8_t *)handle, sizeof link_value);
    return sizeof link_value;
}

uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb)
{
    return tb->address;
}

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb)
{
    (void)tb;
    return INSTRUCTIONS;
}

struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index)
{
    return index < INSTRUCTIONS ? (struct qemu_plugin_insn *)&tb->instruction : NULL;
}

size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *into, size_t size)
{
    memcpy(into, &insn->word, size);
    return size;
}

void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t id, processor_callback call)
{
    (void)id;
    on_processor = call;
}

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, translation_callback call)
{
    (void)id;
    on_translation = call;
}

void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, system_call_callback call)
{
    (void)id;
    on_system_call = call;
}

void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, execution_callback call,
                                          enum qemu_plugin_cb_flags flags, void *given)
{
    tb->call = call;
    tb->flags = flags;
    tb->given = given;
}

void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *tb,
                                                       enum qemu_plugin_op op,
                                                       qemu_plugin_u64 entry, uint64_t value)
{
    if (op == QEMU_PLUGIN_INLINE_ADD_U64 && value == 1)
        tb->counter = (uint64_t *)((char *)entry.score + entry.offset);
}

static void run(GHashTable *translated, uint64_t address)
{
    struct qemu_plugin_tb *tb = g_hash_table_lookup(translated, (void *)address);
    if (!tb) {
        tb = g_new0(struct qemu_plugin_tb, 1);
        tb->address = address;
        tb->instruction.word = (uint32_t)address;
        on_translation(1, tb);
        g_hash_table_insert(translated, (void *)address, tb);
    }
    if (tb->call) {
        readable = tb->flags;
        tb->call(0, tb->given);
        readable = QEMU_PLUGIN_CB_NO_REGS;
    }
    ++*tb->counter;
}

int main(int argc, char **argv)
{
    GHashTable *translated = g_hash_table_new(g_direct_hash, g_direct_equal);
    char line[128];
    qemu_info_t info = {"aarch64"};
    if (qemu_plugin_install(1, &info, argc - 1, argv + 1) != 0)
        return 1;
    on_processor(1, 0);
    while (fgets(line, sizeof line, stdin)) {
        uint64_t value, command;
        int64_t number, file;
        if (sscanf(line, "run %" SCNx64, &value) == 1)
            run(translated, value);
        else if (sscanf(line, "link %" SCNx64, &value) == 1)
            link_value = value;
        else if (sscanf(line, "third %" SCNx64, &value) == 1)
            third_value = value;
        else if (sscanf(line, "call %" SCNd64 " %" SCNd64 " %" SCNx64 " %" SCNu64, &number, &file,
                        &value, &command) == 4)
            on_system_call(1, 0, number, (uint64_t)file, value, command, 0, 0, 0, 0, 0);
        else
            return 2;
    }
    return 0;
}
