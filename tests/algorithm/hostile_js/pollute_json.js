// What it answers with is its own affair; that it answers must not break anything.
Object.prototype.toJSON = Array.prototype.toJSON = String.prototype.toJSON = () => "changed";
onmessage = () => postMessage({ body: [1], stdout: "text" });
