/* A delegate plugin that takes over nothing, or refuses its device: what loading one needs.
 * Layout of TfLiteDelegate: common.h of TensorFlow Lite. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  void *data;
  int (*prepare)(void *context, void *delegate);
  void *copy_from, *copy_to, *free_handle;
  long long flags;
  void *builder;
} Delegate;

static int prepare(void *context, void *delegate) { return 0; }

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count,
                                        void (*report)(const char *)) {
  if (getenv("NO_EDGE_TPU")) {
    report("Failed to load delegate: no Edge TPU is plugged in");
    return NULL;
  }
  Delegate *made = calloc(1, sizeof(Delegate));
  made->prepare = prepare;
  return made;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }
