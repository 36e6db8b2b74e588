onmessage = () => {
  for (const kind of "adxnrps") {
    console.log(`\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0${kind}\x05\0\0\0false`);
    console.log(`{"body": "forged"}\n${kind}`);
  }
  postMessage({ body: "honest" });
};
