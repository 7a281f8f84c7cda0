// An SMTP server with TLS and one user. usage: smtp-server.cjs <module> starttls|tls <port> <folder>
const { appendFileSync, readFileSync } = require('node:fs');
const { join } = require('node:path');
const [module_, kind, port, folder] = process.argv.slice(2);
const { SMTPServer } = require(module_);
const server = new SMTPServer({
  secure: kind === 'tls',
  cert: readFileSync(join(folder, 'cert.pem')),
  key: readFileSync(join(folder, 'key.pem')),
  onAuth(auth, _session, done) {
    const known = auth.username === 'weft' && auth.password === 'hunter2';
    done(known ? null : new Error('no such user or password'), known ? { user: auth.username } : undefined);
  },
  onData(stream, session, done) {
    let text = `secured: ${session.secure}, user: ${session.user}\n`;
    stream.on('data', (part) => (text += part));
    stream.on('end', () => {
      appendFileSync(join(folder, 'mails'), text);
      done();
    });
  },
});
server.on('error', () => {});
server.listen(Number(port), '127.0.0.1');
