/*
 * A QEMU TCG plugin that counts the blocks of one inference, operator by operator.
 *
 *     qemu-aarch64 -plugin libcounter.so,marks=MARKS,out=OUT ...
 *
 * Every translated block has a counter. MARKS names places in the runtime's library, as
 * offsets from where it is loaded (hexadecimal):
 *
 *     inference START END   the function that runs the graph once
 *     runtime START END     code between operators: here an operator is over
 *     operator START        an operator inside a delegate begins, or the next of the objects
 *                           that it is made of: its third argument is the object's number
 *     builtin START         a builtin operator or a delegate begins, if `inference` called it
 *
 * The guest talks by a system call that does nothing: posix_fadvise(-7, VALUE, COMMAND, 0).
 * Command 1 says where the library was loaded, command 2 asks for a record of the next
 * inference. OUT then holds, one line each:
 *
 *     segment KIND OFFSET   what ran: r(untime), o(perator), b(uiltin), and where it began;
 *                           c: the operator goes on with another of its objects
 *     count BLOCK TIMES     how often a block was executed in this segment
 *     block BLOCK OFFSET INSTRUCTIONS BYTES   (all blocks of the record, at the end)
 */
#include <glib.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

#define MOST_BLOCKS (1u << 20)
#define FADVISE 223 /* number of the system call on aarch64 */
#define GUEST_CALLS ((uint64_t)-7)

enum command { LOADED_AT = 1, RECORD_NEXT = 2 };
enum place { INFERENCE, RUNTIME, OPERATOR, BUILTIN };

typedef struct {
    enum place place;
    uint64_t start, end; /* end = start where only the beginning matters */
} Mark;

typedef struct {
    uint64_t address;
    size_t instructions;
    GByteArray *bytes;
    bool executed; /* in the record */
} Block;

static GArray *marks;     /* Mark */
static GPtrArray *blocks; /* Block */
static GMutex lock;
static struct qemu_plugin_scoreboard *counters; /* uint64_t[MOST_BLOCKS] per processor */
static uint64_t *before;                        /* counters when the segment began */
static struct qemu_plugin_register *link_register, *third_argument;
static FILE *out;

static uint64_t base, return_address;
static bool wanted, recording;
static char kind;
static uint64_t began_at;

static uint64_t read_register(struct qemu_plugin_register *known)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    uint64_t value = 0;
    if (known && qemu_plugin_read_register(known, bytes) == sizeof value)
        memcpy(&value, bytes->data, sizeof value);
    return value;
}

static const Mark *mark_of(uint64_t address)
{
    uint64_t offset = address - base;
    const Mark *found = NULL;
    if (!base)
        return NULL;
    for (guint i = 0; i < marks->len; i++) {
        const Mark *mark = &g_array_index(marks, Mark, i);
        if (offset == mark->start)
            return mark;
        if (offset > mark->start && offset < mark->end)
            found = mark;
    }
    return found;
}

static void finish_segment(unsigned int cpu)
{
    const uint64_t *now = qemu_plugin_scoreboard_find(counters, cpu);
    g_mutex_lock(&lock);
    guint known = blocks->len;
    fprintf(out, "segment %c %" PRIx64 "\n", kind, began_at);
    for (guint i = 0; i < known; i++) {
        if (now[i] != before[i]) {
            fprintf(out, "count %u %" PRIu64 "\n", i, now[i] - before[i]);
            ((Block *)g_ptr_array_index(blocks, i))->executed = true;
            before[i] = now[i];
        }
    }
    g_mutex_unlock(&lock);
}

static void begin_segment(unsigned int cpu, char next, uint64_t address)
{
    if (!recording || (next == 'r' && kind == 'r'))
        return;
    finish_segment(cpu);
    kind = next;
    began_at = address - base;
}

static void write_blocks(void)
{
    g_mutex_lock(&lock);
    for (guint i = 0; i < blocks->len; i++) {
        const Block *block = g_ptr_array_index(blocks, i);
        if (!block->executed)
            continue;
        fprintf(out, "block %u %" PRIx64 " %zu ", i, block->address - base, block->instructions);
        for (guint byte = 0; byte < block->bytes->len; byte++)
            fprintf(out, "%02x", block->bytes->data[byte]);
        fputc('\n', out);
    }
    g_mutex_unlock(&lock);
    fflush(out);
}

static void at_inference(unsigned int cpu, void *address)
{
    return_address = read_register(link_register);
    if (!wanted)
        return;
    wanted = false;
    recording = true;
    kind = 'r';
    began_at = (uint64_t)address - base;
    memcpy(before, qemu_plugin_scoreboard_find(counters, cpu), MOST_BLOCKS * sizeof *before);
}

static void at_runtime(unsigned int cpu, void *address)
{
    begin_segment(cpu, 'r', (uint64_t)address);
}

static void at_operator(unsigned int cpu, void *address)
{
    begin_segment(cpu, read_register(third_argument) ? 'c' : 'o', (uint64_t)address);
}

static void at_builtin(unsigned int cpu, void *address)
{
    if (!recording)
        return;
    const Mark *caller = mark_of(read_register(link_register));
    if (caller && caller->place == INFERENCE)
        begin_segment(cpu, 'b', (uint64_t)address);
}

static void at_return(unsigned int cpu, void *address)
{
    (void)address;
    if (!recording)
        return;
    finish_segment(cpu);
    recording = false;
    write_blocks();
}

/* Callbacks come before the block's own counter: a block belongs to the segment it begins. */
static void call_at(struct qemu_plugin_tb *tb, uint64_t address)
{
    const Mark *mark = mark_of(address);
    void *given = (void *)address;
    if (address == return_address)
        qemu_plugin_register_vcpu_tb_exec_cb(tb, at_return, QEMU_PLUGIN_CB_NO_REGS, given);
    if (!mark)
        return;
    if (mark->place == INFERENCE && address - base == mark->start)
        qemu_plugin_register_vcpu_tb_exec_cb(tb, at_inference, QEMU_PLUGIN_CB_R_REGS, given);
    else if (mark->place == INFERENCE || mark->place == RUNTIME)
        qemu_plugin_register_vcpu_tb_exec_cb(tb, at_runtime, QEMU_PLUGIN_CB_NO_REGS, given);
    else if (mark->place == OPERATOR)
        qemu_plugin_register_vcpu_tb_exec_cb(tb, at_operator, QEMU_PLUGIN_CB_R_REGS, given);
    else
        qemu_plugin_register_vcpu_tb_exec_cb(tb, at_builtin, QEMU_PLUGIN_CB_R_REGS, given);
}

static void at_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    Block *block = g_new0(Block, 1);
    block->address = qemu_plugin_tb_vaddr(tb);
    block->instructions = qemu_plugin_tb_n_insns(tb);
    block->bytes = g_byte_array_new();
    for (size_t i = 0; i < block->instructions; i++) {
        uint8_t bytes[4];
        size_t size = qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i), bytes, sizeof bytes);
        g_byte_array_append(block->bytes, bytes, size);
    }
    call_at(tb, block->address);
    g_mutex_lock(&lock);
    guint number = blocks->len;
    g_ptr_array_add(blocks, block);
    g_mutex_unlock(&lock);
    if (number >= MOST_BLOCKS) {
        fprintf(stderr, "counter: more than %u blocks\n", MOST_BLOCKS);
        exit(3);
    }
    qemu_plugin_u64 counter = {counters, number * sizeof(uint64_t)};
    qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
        tb, QEMU_PLUGIN_INLINE_ADD_U64, counter, 1);
}

static void at_system_call(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t file,
                           uint64_t value, uint64_t command, uint64_t a4, uint64_t a5,
                           uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)cpu, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != FADVISE || (int32_t)file != (int32_t)GUEST_CALLS)
        return;
    if (command == LOADED_AT)
        base = value;
    else if (command == RECORD_NEXT)
        wanted = true;
}

static void at_processor(qemu_plugin_id_t id, unsigned int cpu)
{
    (void)id, (void)cpu;
    if (link_register)
        return;
    g_autoptr(GArray) registers = qemu_plugin_get_registers();
    for (guint i = 0; i < registers->len; i++) {
        qemu_plugin_reg_descriptor *known =
            &g_array_index(registers, qemu_plugin_reg_descriptor, i);
        if (!strcmp(known->name, "x30") || !strcmp(known->name, "lr"))
            link_register = known->handle;
        if (!strcmp(known->name, "x2"))
            third_argument = known->handle;
    }
}

static bool read_marks(const char *path)
{
    static const char *const names[] = {"inference", "runtime", "operator", "builtin"};
    char name[16];
    Mark mark;
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    while (fscanf(file, "%15s %" SCNx64 " %" SCNx64, name, &mark.start, &mark.end) == 3)
        for (int place = INFERENCE; place <= BUILTIN; place++)
            if (!strcmp(name, names[place])) {
                mark.place = place;
                g_array_append_val(marks, mark);
            }
    fclose(file);
    return marks->len > 0;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
                                           char **argv)
{
    (void)info;
    marks = g_array_new(false, false, sizeof(Mark));
    blocks = g_ptr_array_new();
    for (int i = 0; i < argc; i++) {
        if (g_str_has_prefix(argv[i], "marks=") && !read_marks(argv[i] + strlen("marks="))) {
            fprintf(stderr, "counter: %s: no marks\n", argv[i]);
            return -1;
        }
        if (g_str_has_prefix(argv[i], "out="))
            out = fopen(argv[i] + strlen("out="), "w");
    }
    if (!out || !marks->len) {
        fprintf(stderr, "counter: marks=FILE and out=FILE are needed\n");
        return -1;
    }
    before = g_new0(uint64_t, MOST_BLOCKS);
    counters = qemu_plugin_scoreboard_new(MOST_BLOCKS * sizeof(uint64_t));
    qemu_plugin_register_vcpu_init_cb(id, at_processor);
    qemu_plugin_register_vcpu_tb_trans_cb(id, at_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, at_system_call);
    return 0;
}
