/* The only program of the image reactorcide/static:local. Each argument says what to do next:
 *
 *   print=TEXT  exit=N  sleep=SECONDS  ignore-term  allocate=MIB  orphan=SECONDS  env=NAME  stderr=TEXT
 *
 * Without an argument it prints "static" and exits with 0.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *value_of(const char *argument, const char *name)
{
    size_t length = strlen(name);
    return strncmp(argument, name, length) == 0 && argument[length] == '=' ? argument + length + 1 : NULL;
}

/* Leaves a process behind that no one waits for. */
static void orphan(unsigned seconds)
{
    if (fork() == 0) {
        setsid();
        if (fork() == 0) {
            sleep(seconds);
        }
        _exit(0);
    }
}

static void allocate(size_t mebibytes)
{
    for (size_t i = 0; i < mebibytes; i++) {
        char *block = malloc(1 << 20);
        if (block == NULL) {
            perror("malloc");
            exit(1);
        }
        memset(block, 1, 1 << 20);
    }
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 2) {
        puts("static");
    }
    for (int i = 1; i < argc; i++) {
        const char *value;
        if ((value = value_of(argv[i], "print"))) {
            puts(value);
        } else if ((value = value_of(argv[i], "stderr"))) {
            fprintf(stderr, "%s\n", value);
        } else if ((value = value_of(argv[i], "env"))) {
            printf("%s=%s\n", value, getenv(value) ? getenv(value) : "");
        } else if ((value = value_of(argv[i], "exit"))) {
            return atoi(value);
        } else if ((value = value_of(argv[i], "sleep"))) {
            sleep((unsigned)atoi(value));
        } else if ((value = value_of(argv[i], "allocate"))) {
            allocate((size_t)atol(value));
        } else if ((value = value_of(argv[i], "orphan"))) {
            orphan((unsigned)atoi(value));
        } else if (strcmp(argv[i], "ignore-term") == 0) {
            signal(SIGTERM, SIG_IGN);
        } else {
            fprintf(stderr, "static: unknown argument %s\n", argv[i]);
            return 64;
        }
    }
    return 0;
}
