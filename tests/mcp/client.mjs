// The official TypeScript client against our bridge: node client.mjs BRIDGE SOCKET
// Prints one line per answer that it accepted. Lines on standard input: "go" after the hub was
// restarted. The SDK is found beside AETHER_TEST_NPM (a directory that holds node_modules).
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import path from "node:path";

const sdk = path.join(process.env.AETHER_TEST_NPM, "node_modules/@modelcontextprotocol/sdk/dist/esm/client");
const { Client } = await import(pathToFileURL(path.join(sdk, "index.js")));
const { StdioClientTransport } = await import(pathToFileURL(path.join(sdk, "stdio.js")));

const [bridge, socket] = process.argv.slice(2);
const client = new Client({ name: "contract", version: "1.0.0" });
client.onerror = (error) => { console.log(`error ${error.message}`); process.exitCode = 1; };
client.onclose = () => console.log("closed");
await client.connect(new StdioClientTransport({ command: bridge, args: [socket] }));
console.log(`server ${client.getServerVersion().name}`);

const { tools } = await client.listTools();
console.log(`tools ${tools.map((tool) => tool.name).join(" ")}`);
const call = async (name, args) => {
  const result = await client.callTool({ name, arguments: args });
  const text = result.content[0].text;
  return result.isError ? { isError: true, text } : JSON.parse(text);
};
const text = "Schlüssel 鍵 🔑 \"quoted\" \\ \n end";
const written = await call("remember", { text, tags: ["unicode"], importance: 9, layer: "procedural" });
const found = await call("recall", { query: "schlussel", limit: 1 });
console.log(`recalled ${found.memories[0].text === text && found.memories[0].id === written.id}`);
console.log(`bad ${(await call("recall", { limit: 999 })).isError}`);
console.log(`agents ${(await call("list_agents", {})).isError}`);
console.log(`status ${(await call("get_status", {})).isError}`);
await client.ping();
console.log("ready for restart");
for await (const _ of createInterface({ input: process.stdin })) break;
const again = await call("recall", { query: "schlussel", limit: 1 });
console.log(`after restart ${again.memories[0].text === text}`);
console.log(`forgotten ${(await call("forget", { id: written.id, reason: "done" })).forgotten === written.id}`);
client.onclose = undefined;
await client.close();
console.log("end");
process.exit();
