"""The method on one screen, FixMatch beside LayerMatch. A test holds it to `layermatch_lite.train`, bit for bit."""

import math

import torch
import torch.nn.functional as F


class FixMatch:
    def __init__(self, classifier, tau):
        self.W, self.b, self.tau = classifier.weight, classifier.bias, tau

    def learn(self, z_weak, z_strong, W, b):
        confidence, q = F.linear(z_weak, self.W, self.b).detach().softmax(dim=1).max(dim=1)  # q: the pseudo-labels
        return (F.cross_entropy(F.linear(z_strong, W, b), q, reduction="none") * (confidence >= self.tau)).mean()

    def loss(self, z_weak, z_strong):
        return self.learn(z_weak, z_strong, self.W, self.b)  # every layer learns

    def after_step(self):
        pass


class GradReLU(FixMatch):
    def loss(self, z_weak, z_strong):
        return self.learn(z_weak, z_strong, self.W.detach(), self.b.detach())  # every layer but the classifier


class LayerMatch(FixMatch):
    def __init__(self, classifier, tau, m=0.99):
        super().__init__(classifier, tau)
        self.W_bar, self.b_bar, self.m, self.t = self.W.detach().clone(), self.b.detach().clone(), m, 0

    def loss(self, z_weak, z_strong):
        return self.learn(z_weak, z_strong, self.W_bar, self.b_bar)  # the same, towards averaged centres

    def after_step(self):
        m, self.t = min(self.m, (1 + self.t) / (10 + self.t)), self.t + 1
        self.W_bar.lerp_(self.W.detach(), 1 - m)
        self.b_bar.lerp_(self.b.detach(), 1 - m)


class AvgClustering(LayerMatch):
    def loss(self, z_weak, z_strong):
        L_W = self.learn(z_weak, z_strong.detach(), self.W, self.b)  # the classifier learns as in FixMatch
        return super().loss(z_weak, z_strong) + (L_W - L_W.detach())


def fit(model, method, batches, steps, lr):
    groups = [{"params": [p], "weight_decay": 5e-4 if p.dim() > 1 else 0} for p in model.parameters()]  # weights, not biases
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: math.cos(7 * math.pi * k / (16 * steps)))
    for _, (x, y, weak, strong, *_) in zip(range(steps), batches):
        z_x, z_weak, z_strong = model.features(torch.cat([x, weak, strong])).split([len(x), len(weak), len(strong)])
        loss = F.cross_entropy(model.classifier(z_x), y) + method.loss(z_weak, z_strong)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        method.after_step()
