#include <ctype.h>
#include <stdio.h>

#include "words.h"

/* Counts the words of standard input. A word that spans two reads counts once. */
int main(void)
{
    char buffer[4096];
    size_t words = 0;
    int last_was_word = 0;
    size_t length;
    while ((length = fread(buffer, 1, sizeof buffer, stdin)) > 0) {
        words += count_words(buffer, length);
        if (last_was_word && !isspace((unsigned char)buffer[0])) {
            words--;
        }
        last_was_word = !isspace((unsigned char)buffer[length - 1]);
    }
    if (ferror(stdin)) {
        perror("wordcount");
        return 1;
    }
    printf("%zu\n", words);
    return 0;
}
