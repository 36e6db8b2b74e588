onmessage = () => {
  postMessage({ body: "first" });
  const again = () => { Promise.resolve().then(again); };
  again();
};
