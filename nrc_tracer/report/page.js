"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const images = data.images.map((entry) => ({ ...entry, element: document.getElementById(entry.id) }));
  const { width, height } = data;
  const canvas = document.getElementById("stage");
  const context = canvas.getContext("2d");
  const left = document.getElementById("left");
  const right = document.getElementById("right");
  const wipe = document.getElementById("wipe");
  const zoomWord = document.getElementById("zoom");
  const places = [...document.querySelectorAll("[data-place]")];
  // The visible part: its centre in image pixels, and the zoom relative to the whole image
  const view = { x: width / 2, y: height / 2, zoom: 1 };

  for (const select of [left, right]) {
    images.forEach((image, index) => select.add(new Option(image.name, index)));
  }
  left.value = data.left;
  right.value = data.right;

  const fit = () => Math.min(canvas.width / width, canvas.height / height);
  const scale = () => fit() * view.zoom;

  function settle() {
    view.zoom = Math.min(Math.max(view.zoom, 1), 64);
    const halfX = Math.min(canvas.width / scale() / 2, width / 2);
    const halfY = Math.min(canvas.height / scale() / 2, height / 2);
    view.x = Math.min(Math.max(view.x, halfX), width - halfX);
    view.y = Math.min(Math.max(view.y, halfY), height - halfY);
  }

  function paint(image, from, to) {
    context.save();
    context.beginPath();
    context.rect(from, 0, to - from, canvas.height);
    context.clip();
    const s = scale();
    context.drawImage(image.element, canvas.width / 2 - view.x * s, canvas.height / 2 - view.y * s, width * s, height * s);
    context.restore();
  }

  function tag(text, x, align) {
    const size = 13 * devicePixelRatio;
    context.font = `600 ${size}px system-ui, sans-serif`;
    context.textAlign = align;
    context.textBaseline = "middle";
    const wide = context.measureText(text).width + size;
    const start = align === "left" ? x : x - wide;
    context.fillStyle = "rgba(0, 0, 0, .6)";
    context.fillRect(start, size * 0.6, wide, size * 1.8);
    context.fillStyle = "#fff";
    context.fillText(text, align === "left" ? x + size / 2 : x - size / 2, size * 1.5);
  }

  function draw() {
    settle();
    // A finger scrolls the page while the whole image is shown, and moves the image otherwise
    canvas.style.touchAction = view.zoom > 1.001 ? "none" : "pan-y";
    const edge = canvas.width * wipe.value / 1000;
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = scale() < 1;
    paint(images[left.value], 0, edge);
    paint(images[right.value], edge, canvas.width);
    context.fillStyle = "#fff";
    context.fillRect(edge - devicePixelRatio, 0, 2 * devicePixelRatio, canvas.height);
    tag(images[left.value].name, 0, "left");
    tag(images[right.value].name, canvas.width, "right");
    zoomWord.textContent = `${(scale() / devicePixelRatio).toPrecision(2)} screen pixels per pixel`;
  }

  function resize() {
    // As large as the page and the window allow, in the proportions of the image: a portrait picture is not as wide as the page
    const frame = getComputedStyle(canvas.parentElement);
    const room = canvas.parentElement.clientWidth - parseFloat(frame.paddingLeft) - parseFloat(frame.paddingRight);
    const high = Math.min(room * height / width, innerHeight * 0.78);
    const wide = high * width / height;
    canvas.style.width = `${wide}px`;
    canvas.style.height = `${high}px`;
    canvas.width = Math.round(wide * devicePixelRatio);
    canvas.height = Math.round(high * devicePixelRatio);
    draw();
  }

  function show(x, y, side) {
    view.x = x + side / 2;
    view.y = y + side / 2;
    view.zoom = Math.min(canvas.width, canvas.height) / side / fit();
    draw();
  }

  function zoomAt(factor, px, py) {
    const before = scale();
    view.zoom = Math.min(Math.max(view.zoom * factor, 1), 64);
    const after = scale();
    view.x += (px - canvas.width / 2) * (1 / before - 1 / after);
    view.y += (py - canvas.height / 2) * (1 / before - 1 / after);
    draw();
  }

  const pointers = new Map();
  let wiping = false;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: (event.clientX - box.left) * devicePixelRatio, y: (event.clientY - box.top) * devicePixelRatio };
  };
  const near = (point) => Math.abs(point.x - canvas.width * wipe.value / 1000) < 22 * devicePixelRatio;

  canvas.addEventListener("pointerdown", (event) => {
    const point = at(event);
    if (pointers.size === 0) wiping = near(point) || view.zoom <= 1.001;
    pointers.set(event.pointerId, point);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const point = at(event);
    const last = pointers.get(event.pointerId);
    canvas.classList.toggle("wiping", wiping && pointers.size > 0 || near(point) || view.zoom <= 1.001);
    if (!last) return;
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const before = Math.hypot(last.x - other.x, last.y - other.y);
      const after = Math.hypot(point.x - other.x, point.y - other.y);
      zoomAt(after / Math.max(before, 1), (point.x + other.x) / 2, (point.y + other.y) / 2);
    } else if (wiping) {
      wipe.value = 1000 * point.x / canvas.width;
      draw();
    } else {
      view.x -= (point.x - last.x) / scale();
      view.y -= (point.y - last.y) / scale();
      draw();
    }
    pointers.set(event.pointerId, point);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  canvas.addEventListener("wheel", (event) => {
    // The wheel scrolls the page unless the image is zoomed in or Ctrl is pressed
    if (!event.ctrlKey && view.zoom <= 1.001) return;
    event.preventDefault();
    const point = at(event);
    zoomAt(Math.exp(-event.deltaY * 0.002), point.x, point.y);
  }, { passive: false });

  for (const input of [left, right, wipe]) input.addEventListener("input", draw);
  document.getElementById("swap").addEventListener("click", () => {
    [left.value, right.value] = [right.value, left.value];
    draw();
  });
  document.getElementById("closer").addEventListener("click", () => zoomAt(2, canvas.width / 2, canvas.height / 2));
  document.getElementById("farther").addEventListener("click", () => zoomAt(0.5, canvas.width / 2, canvas.height / 2));
  for (const button of places) {
    button.addEventListener("click", () => {
      const crop = data.crops[button.dataset.place];
      if (crop) show(crop.x, crop.y, crop.side);
      else { view.zoom = 1; draw(); }
      for (const other of places) other.setAttribute("aria-pressed", String(other === button));
    });
  }

  function fillCrops() {
    for (const small of document.querySelectorAll(".crops canvas")) {
      const crop = data.crops[small.dataset.crop];
      const image = images[small.dataset.image];
      const side = Math.max(crop.side, 256);
      small.width = small.height = side;
      const pen = small.getContext("2d");
      pen.imageSmoothingEnabled = false;
      pen.drawImage(image.element, crop.x, crop.y, crop.side, crop.side, 0, 0, side, side);
      small.parentElement.addEventListener("click", () => {
        left.value = 0;
        right.value = small.dataset.image === "0" ? right.value : small.dataset.image;
        canvas.parentElement.scrollIntoView({ behavior: "smooth", block: "start" });
        show(crop.x, crop.y, crop.side);
      });
    }
  }

  Promise.all(images.map((image) => image.element.decode())).then(() => {
    fillCrops();
    resize();
    addEventListener("resize", resize);
  });
})();
