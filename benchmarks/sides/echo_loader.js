// The least that a loader does: it instantiates the module and answers.
onmessage = async (event) => {
  const { instance } = await WebAssembly.instantiate(event.data.buffWasm, {});
  postMessage({ body: instance.exports.one(), stdout: null, stderr: null });
};
