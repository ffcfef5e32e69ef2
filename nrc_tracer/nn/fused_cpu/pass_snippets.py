"""C++ of a training step: forward and backward pass, and the sum of the weights' gradients; see `kernels`."""

DESCEND = """
    pad(step.span > 1 ? step.span * step.rows : program.stretch);
    pack();
    const auto last_layer = program.layers.data[n_layers - 1];
    const float* targets = (const float*)step.target;
    const float* factors = (const float*)step.factor;
    const float* densities = (const float*)step.pdf;
    const float* d_given = (const float*)step.d_out;
    float* d_inputs = (float*)step.d_inputs;
    float* late = slab + step.late;
    const int C = n_outputs;
    const Floats zero = 0.0f;

    int encoded = 0, encoded_end = 0;  // the points that are encoded
    for (int group = 0, last_group = 0;; ++group) {
        if (group >= last_group) {
            group = NRC_NEXT(call) * step.span;
            last_group = group + step.span;
            encoded_end = 0;
        }
        if (group >= step.groups) break;
        float* d_weights = (float*)step.d_weights + (size_t)group * step.n_weights;
        bool add = false;
        double loss = 0.0;
        Floats magnitude = zero;
        const int group_begin = group * step.rows;
        const int group_end = group_begin + step.rows < call.n ? group_begin + step.rows : call.n;
        for (int begin = group_begin; begin < group_end; begin += program.stretch) {
            const int end = begin + program.stretch < group_end ? begin + program.stretch : group_end;
            if (end > encoded_end) {
                const int last = step.span > 1 ? last_group * step.rows : end;
                encoded = begin;
                encoded_end = last < call.n ? last : call.n;
                encode(encoded, encoded_end, (float*)step.points, call.n);
            }
            for (int first = begin - encoded; first < end - encoded; first += program.block) {
                const int left = end - encoded - first, rows = left < program.block ? left : program.block;
                const int whole = (rows + 11) / 12 * 12;
                choose_results(encoded + first);
                if (!call.kept) apply(first, rows);

                // The gradient of the outputs
                float* d_end = slab + last_layer.d_target;
                for (int i = 0; i < whole * last_layer.n_out; i += 16) NRC_STORE(d_end + i, zero);
                float p[256], d[256];
                const bool copies = d_given && step.n_direct == C;
                if (copies)
                    for (int i = 0; i < rows; ++i)
                        copy_row(d_given + (encoded + first + i) * (long long)C, d_end + i * last_layer.n_out, C);
                for (int i = 0; i < rows && !copies; ++i) {
                    const long long row = encoded + first + i;
                    const float* factor = factors ? factors + row * step.factor_row : nullptr;
                    if (d_given) {
                        for (int c = 0; c < C; ++c) d[c] = d_given[row * C + c];
                    } else {
                        for (int c = 0; c < C; ++c) {
                            const auto output = program.outputs.data[c];
                            p[c] = place(output.at, output.row, output.moves, first)[i * output.row];
                            if (factor) p[c] *= factor[c * step.factor_step];
                        }
                        loss += row_loss(step.loss, step.weight, step.delta, p, targets + row * C,
                                         densities ? densities + row * step.pdf_row : nullptr, step.pdf_step, C, d);
                        if (factor)
                            for (int c = 0; c < C; ++c) d[c] *= factor[c * step.factor_step];
                    }
                    for (int c = 0; c < step.n_direct; ++c) d_end[i * last_layer.n_out + c] = d[c];
                    if (step.n_direct < C) late[i] = d[step.n_direct];
                }

                // Back through the layers
                for (int l = n_layers - 1; l >= 0; --l) {
                    const auto layer = program.layers.data[l];
                    float* d_target = slab + layer.d_target;
                    const int d_row = layer.d_target_row;
                    if (layer.late_output)
                        for (int i = 0; i < rows; ++i) d_target[i * d_row] += late[i];
                    if (layer.activation != 0) {
                        const float* h = place(layer.target, layer.target_row, layer.target_moves, first);
                        const float* z = results + (layer.applied < 0 ? 0 : layer.applied);
                        if (d_row == layer.n_out && layer.target_row == layer.n_out)
                            differentiate(layer.activation, d_target, h, z, whole * layer.n_out);
                        else
                            for (int i = 0; i < whole; ++i)
                                differentiate(layer.activation, d_target + i * d_row, h + i * layer.target_row,
                                              z + i * layer.n_out, layer.n_out);
                    }
                    const float* source = place(layer.source, layer.source_row, layer.source_moves, first);
                    product(OutputsAtATime(), d_target, 1, d_row, source, layer.source_row, layer.n_out, layer.n_in, rows,
                            d_weights + layer.weights, layer.n_in, add);
                    const bool leaves = layer.source_moves && d_inputs;
                    const int d_begin = leaves ? 0 : layer.d_begin, d_end = leaves ? layer.n_in : layer.d_end;
                    if (d_end == d_begin) continue;
                    float* d_source = slab + layer.d_source;
                    product(RowsAtATime(), d_target, d_row, 1, params + layer.weights + d_begin, layer.n_in, whole,
                            d_end - d_begin, layer.n_out, d_source + d_begin, layer.n_in, false);
                    if (!layer.source_moves) continue;
                    if (d_inputs) {
                        const int room = step.width - layer.feature_column, features = layer.n_in - layer.first_feature;
                        const int stored = features < room ? features : room;
                        for (int i = 0; i < rows; ++i) {
                            float* to = d_inputs + (encoded + first + i) * (long long)step.width + layer.feature_column;
                            const float* from = d_source + i * layer.n_in + layer.first_feature;
                            copy_row(from, to, stored);
                        }
                    }

                    // Store the gradients of the grids' features
                    for (int q = 0; q < n_parts; ++q) {
                        const auto part = program.parts.data[q];
                        if (part.kind != 0 || part.buffer != layer.source) continue;
                        const int F = part.n_features;
                        for (int k = 0; k < part.size; ++k) {
                            const long long d_feature_row = step.by_level ? F : part.size * F;
                            float* d_features = (float*)step.d_features + (size_t)call.n * part.d_first
                                                + (size_t)(step.by_level ? call.n : 1) * k * F
                                                + (size_t)(encoded + first) * d_feature_row;
                            const float* d_column = d_source + part.column + k * F;
                            for (int i = 0; i < rows; ++i)
                                for (int f = 0; f < F; ++f) {
                                    const float value = d_column[i * layer.n_in + f];
                                    d_features[i * d_feature_row + f] = value;
                                    magnitude[(i * F + f) & 15] += fabsf(value);
                                }
                        }
                    }
                }
                add = true;
            }
        }
        for (int i = 0; i < step.n_weights; i += 16) magnitude += NRC_ABS(NRC_LOAD(d_weights + i));
        double total = fabs(loss);
        for (int j = 0; j < 16; ++j) total += magnitude[j];
        double* sums = (double*)step.sums + 2 * group;
        sums[0] = loss;
        sums[1] = total;
        NRC_COUNT(call, 1, __ATOMIC_RELEASE);
    }
"""

SUM_WEIGHTS = """
    // Add the gradients of all groups, in order
    const int begin = piece * step.slice, end = begin + step.slice < step.n_weights ? begin + step.slice : step.n_weights;
    const float* parts = (const float*)step.d_weights;
    float* gradient = (float*)step.gradient;
    for (int i = begin; i < end; i += 16) {
        Floats sum = 0.0f;
        for (int group = 0; group < step.groups; ++group) sum += NRC_LOAD(parts + (size_t)group * step.n_weights + i);
        NRC_STORE(gradient + i, sum);
    }
"""
