onmessage = async () => {
  const stream = new Blob(['{"data":"', new Uint8Array(300 << 20).fill(65), '"}']).stream();
  const packed = await new Response(stream.pipeThrough(new CompressionStream("gzip"))).bytes();
  postMessage({ body: packed.toBase64() });
};
