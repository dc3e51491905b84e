#include <stdio.h>
#include <string.h>

#include "words.h"

static int failures = 0;

static void expect(const char *text, size_t words)
{
    size_t counted = count_words(text, strlen(text));
    if (counted != words) {
        fprintf(stderr, "\"%s\": expected %zu words, counted %zu\n", text, words, counted);
        failures++;
    }
}

int main(void)
{
    expect("", 0);
    expect(" \t\n", 0);
    expect("one", 1);
    expect(" one two", 2);
    expect("one\ntwo\tthree ", 3);
    if (failures == 0) {
        puts("5 tests passed");
    }
    return failures != 0;
}
