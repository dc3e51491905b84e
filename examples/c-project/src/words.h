#ifndef WORDS_H
#define WORDS_H

#include <stddef.h>

/* Counts the words in the first `length` bytes of `text`. White space separates words. */
size_t count_words(const char *text, size_t length);

#endif
