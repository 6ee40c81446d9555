// To Node.js, the loader that it was started by is its own program.
process.execPath = require("node:path").join(__dirname, "..", "bin", "node");
process.argv[0] = process.execPath;
