// The floor: the least that Node.js takes to answer over HTTP. JavaScript, so that nothing has to be stripped.
import { createServer } from 'node:http';

createServer((_request, response) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': 2 }).end('{}');
}).listen(Number(process.argv[2]), '127.0.0.1');
