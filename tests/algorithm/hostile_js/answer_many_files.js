onmessage = async (event) => {
  const whole = { data: 1 };
  for (const path of event.data.result_files) whole[path] = btoa("x".repeat(1 << 20));
  const stream = new Blob([JSON.stringify(whole)]).stream().pipeThrough(new CompressionStream("gzip"));
  postMessage({ body: (await new Response(stream).bytes()).toBase64() });
};
