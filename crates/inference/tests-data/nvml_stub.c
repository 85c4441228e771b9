// A stand-in for libnvidia-ml.so with the calls that the probe makes. Its state is read anew on each call from the file
// that STATE names: "init count lost used_percent", where `init` is the answer to nvmlInit, `lost` a GPU's number or -1.
#include <stdio.h>
#include <string.h>

typedef unsigned long long ull;
struct memory { unsigned version; ull total, reserved, free, used; };
struct utilization { unsigned gpu, memory; };
struct process { unsigned pid; ull used; unsigned instance, compute; };
struct state { int init, count, lost; unsigned used; };

enum { OK = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, LOST = 15, UNKNOWN = 999 };

static struct state state(void) {
    struct state s = {UNKNOWN, 0, -1, 0};
    FILE *file = fopen(STATE, "r");
    if (!file) return s;
    if (fscanf(file, "%d %d %d %u", &s.init, &s.count, &s.lost, &s.used) != 4) s.init = UNKNOWN;
    fclose(file);
    return s;
}

static int check(void *device) { return state().lost == (int)(long)device - 1 ? LOST : OK; }

int nvmlInit_v2(void) { return state().init; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return code ? "error" : "ok"; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { snprintf(text, length, "550.54"); return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { struct state s = state(); *count = s.count; return s.init; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = (void *)(long)(index + 1); return check(*device); }
int nvmlDeviceGetUUID(void *device, char *text, unsigned length) { snprintf(text, length, "GPU-%ld", (long)device - 1); return check(device); }
int nvmlDeviceGetName(void *device, char *text, unsigned length) { snprintf(text, length, "NVIDIA Stub 3090"); return check(device); }
int nvmlDeviceGetMemoryInfo_v2(void *device, struct memory *memory) {
    memory->total = 24564ull << 20, memory->used = 1024ull << 20, memory->reserved = 0;
    memory->free = memory->total - memory->used;
    return check(device);
}
int nvmlDeviceGetUtilizationRates(void *device, struct utilization *rates) { rates->gpu = state().used; rates->memory = 1; return check(device); }
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius) { (void)sensor; *celsius = 61; return check(device); }
#ifdef MILLIWATTS
int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) { *milliwatts = MILLIWATTS; return check(device); }
#else
int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) { (void)device; *milliwatts = 0; return NOT_SUPPORTED; }
#endif
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, struct process *processes) {
    unsigned room = *count;
    *count = 1;
    if (room < 1) return INSUFFICIENT_SIZE;
    memset(processes, 0, sizeof *processes);
    processes->pid = 4242, processes->used = 512ull << 20;
    return check(device);
}
