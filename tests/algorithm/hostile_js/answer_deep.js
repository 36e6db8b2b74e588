onmessage = async () => {
  const text = `{"data":${"[".repeat(1 << 20)}${"]".repeat(1 << 20)}}`;
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"));
  postMessage({ body: (await new Response(stream).bytes()).toBase64() });
};
