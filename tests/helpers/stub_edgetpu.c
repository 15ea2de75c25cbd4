/* A delegate that stands in for an Edge TPU: it takes over the operators that the real compiler
 * writes, and copies their input to their output.
 *
 * The first word of the file that STUB_EDGETPU names says how it behaves, whenever it is asked:
 * work, round (reds are off by three), garbage, fail, abort, hang; refuse, or no file at all: the
 * device is not there. An "at" before it (at-load-abort) does that while it is being loaded. What it
 * was told is appended to the file of that name with ".options".
 *
 * Layouts: common.h of TensorFlow Lite, on systems of 64 bits. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { int size; int data[]; } Ints;
typedef struct {
  int type;
  char *data;
  Ints *dims;
  struct { float scale; int zero_point; } params;
  int allocation;
  size_t bytes;
  void *mapped, *name, *delegate;
  int handle;
  char flags[4];
  void *quantization[2], *sparsity, *signature;
} Tensor;
typedef struct { Ints *inputs, *outputs; } Node;
typedef struct Context Context;
typedef struct {
  void *init, *free, *prepare;
  int (*invoke)(Context *, Node *);
  void *profile;
  int builtin_code;
  const char *custom_name;
  int version;
  void *zeros[8];
} Registration;
typedef struct Delegate {
  void *data;
  int (*prepare)(Context *, struct Delegate *);
  void *copy_from, *copy_to, *free_handle;
  long long flags;
  void *builder;
} Delegate;
struct Context {
  size_t tensors_size;
  int (*execution_plan)(Context *, Ints **);
  Tensor *tensors;
  void *impl;
  void *resize;
  void (*report)(Context *, const char *, ...);
  void *add_tensors;
  int (*node_and_registration)(Context *, int, Node **, Registration **);
  int (*replace)(Context *, Registration, const Ints *, Delegate *);
};

static void mood(char *word) {
  word[0] = 0;
  FILE *file = fopen(getenv("STUB_EDGETPU"), "r");
  if (!file) { strcpy(word, "refuse"); return; }
  if (fscanf(file, "%31s", word) != 1) strcpy(word, "refuse");
  fclose(file);
}

static void act(const char *word) {
  if (!strcmp(word, "abort")) abort();
  while (!strcmp(word, "hang")) sleep(1);
}

static int invoke(Context *context, Node *node) {
  char word[32];
  mood(word);
  act(word);
  if (!strcmp(word, "refuse") || !strcmp(word, "fail")) {
    context->report(context, "USB transfer error 2 [LibUsbDataOutCallback]");
    return 1;
  }
  Tensor *in = &context->tensors[node->inputs->data[0]];
  Tensor *out = &context->tensors[node->outputs->data[0]];
  memcpy(out->data, in->data, out->bytes);
  if (!strcmp(word, "round"))
    for (size_t i = 0; i < out->bytes; i += 3) out->data[i] += 3;
  if (!strcmp(word, "garbage"))
    for (size_t i = 0; i < out->bytes; i++) out->data[i] = (char)(i * 37);
  return 0;
}

static int prepare(Context *context, Delegate *delegate) {
  Ints *plan;
  if (context->execution_plan(context, &plan)) return 1;
  Ints *ours = calloc(1, sizeof(Ints) + sizeof(int) * plan->size);
  for (int i = 0; i < plan->size; i++) {
    Node *node;
    Registration *registration;
    if (context->node_and_registration(context, plan->data[i], &node, &registration)) return 1;
    if (registration->custom_name && !strcmp(registration->custom_name, "edgetpu-custom-op"))
      ours->data[ours->size++] = plan->data[i];
  }
  Registration kernel;
  memset(&kernel, 0, sizeof kernel);
  kernel.invoke = invoke;
  kernel.builtin_code = 51; /* DELEGATE */
  kernel.custom_name = "EdgeTpuDelegateForCustomOp";
  kernel.version = 1;
  int status = context->replace(context, kernel, ours, delegate);
  free(ours);
  return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count,
                                        void (*report)(const char *)) {
  char word[32], name[4096];
  mood(word);
  snprintf(name, sizeof name, "%s.options", getenv("STUB_EDGETPU"));
  FILE *told = fopen(name, "a");
  for (size_t i = 0; told && i < (count & 0xff); i++) fprintf(told, "%s=%s\n", keys[i], values[i]);
  if (told) fclose(told);
  if (!strncmp(word, "at-load-", 8)) act(word + 8);
  if (!strcmp(word, "refuse")) {
    report("Failed to open: no such Edge TPU");
    return NULL;
  }
  Delegate *made = calloc(1, sizeof(Delegate));
  made->prepare = prepare;
  made->flags = 1; /* dynamic tensors allowed: nothing is prepared before it is asked */
  return made;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }
