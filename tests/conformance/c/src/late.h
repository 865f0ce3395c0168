/* Scripts that wait, and commands that are run later. */
#ifndef LATE_H
#define LATE_H

#include "words.h"

/* The event of a script, as far as it needs it. */
typedef struct about {
    hf_socket socket;
    bool has_socket, is_alarm;
    uint32_t retry_count;
} about;

/* Who waits for the end of a script. */
typedef enum caller { REQUEST, EVENT, UPGRADE } caller;
/* What a script waits for. */
typedef enum wait_kind { NONE, UNTIL, UNTIL_EXCLUSIVE, FOR } wait_kind;

/* A script that has begun. It outlives its turn, so its memory is that of malloc; but `answers` grow in that of the turn. */
typedef struct script {
    struct script *next;
    char *lines;
    const char *at;
    text answers;
    /* Keeps the answers between turns. */
    char *saved;
    about about;
    caller caller;
    /* What an UPGRADE accepts. */
    char *path;
    bool is_deferred;
    hf_deferred deferred;
    wait_kind pause;
    hf_token until;
    char *topic;
    /* Comes when the client has gone, which is then stored under `gone_key`, if there is one. */
    hf_token gone;
    char *gone_key;
} script;

script *new_script(hf_bytes lines, about about, caller caller);
/* Runs a script and answers its caller, now or in a later turn. The answers to a request of this turn go into `answers`. */
hf_result begin(script *script, text *answers);
hf_result late_command(const char *line, script *script, bool *is_late);
hf_result resume(const hf_token tokens[], size_t count);

/* Of main.c. */
hf_result run_command(const char *line, about turn, text *answers);
hf_result run_script(script *script);
void accept_later(const char *path, hf_deferred deferred, hf_response *response);

#endif
