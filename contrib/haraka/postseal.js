'use strict';

// plugins/postseal.js of Haraka: shows a mail to postseal-pipe, if it looks like a
// challenge, before Haraka accepts it. Put it behind all plugins that may refuse a mail,
// and before those that queue.
//
// postseal-pipe runs as the user postseal, who can read the state directory, hence sudo
// (sudoers.d/postseal). Only its status 75, or no end within 50 s, makes Haraka answer
// 450, after which the CA tries again. Whatever else is wrong with us, the mail is
// accepted.

const { spawn } = require('node:child_process');

const command = ['sudo', '-n', '-u', 'postseal', '/usr/bin/postseal-pipe'];
const limit = 50 * 1000; // milliseconds; postseal.timeout is longer
const notNow = 75; // EX_TEMPFAIL

exports.hook_data_post = function (next, connection) {
    const transaction = connection?.transaction;
    // Decoded: the Subject may be an encoded-word (RFC 8823, Section 3.1, item 1).
    if (!transaction || !/^\s*ACME:/.test(transaction.header.get_decoded('Subject'))) return next();

    const pipe = spawn(command[0], command.slice(1), { stdio: ['pipe', 'ignore', 'pipe'] });
    let late = false;
    const timer = setTimeout(() => {
        late = true;
        pipe.kill();
    }, limit);

    pipe.stderr.setEncoding('utf8');
    pipe.stderr.on('data', text => connection.lognotice(this, text.trimEnd()));
    pipe.stdin.on('error', () => {}); // it ended without reading all
    pipe.on('error', err => connection.logerror(this, err.message)); // 'close' follows
    pipe.on('close', status => {
        clearTimeout(timer);
        if (late || status === notNow) return next(DENYSOFT, 'try again later');
        next();
    });
    transaction.message_stream.pipe(pipe.stdin, { line_endings: '\n' });
};
